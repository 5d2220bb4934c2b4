#!lua
-- Appends frames to buckets and moves progress, if life and progress are what the commit states; else changes nothing.
-- KEYS: state, index, buckets ...
-- ARGV: life, nonce, limit of a bucket, number of partitions,
--       per partition: field, what must be stored ('' nothing), what then is; per bucket: frame
-- Everything that can fail is looked at before the first write: a script that fails does not roll back.
local state, index = KEYS[1], KEYS[2]
local life = redis.call('HGET', state, 'life')
if life ~= ARGV[1] then return {'LIFE', life} end

local partitions = tonumber(ARGV[4])
local stored, differs = {}, false
for i = 1, partitions do
  local at = 2 + 3 * i
  local is = redis.call('HGET', state, ARGV[at])
  stored[i] = is
  if (is or '') ~= ARGV[at + 1] then differs = true end
end
if differs then return {'MISMATCH', stored} end

local touched, first, limit = #KEYS - 2, 4 + 3 * partitions, tonumber(ARGV[3])
local pcall, fresh, sizes = redis.pcall, {}, {}
for i = 1, touched do
  local length = pcall('STRLEN', KEYS[i + 2])
  if length == 0 then
    local name = string.sub(KEYS[i + 2], #index + 2)
    local held = redis.call('HGET', index, name)
    -- It was split; or it is a half of one that is not (any more): the store went back.
    if held and string.sub(held, 1, 5) == 'split' then return {'LAYOUT', i} end
    if held then return {'LOST', i, 0} end
    if string.find(name, '.', 1, true) then return {'LAYOUT', i} end
    fresh[#fresh + 1] = name
  elseif type(length) == 'table' then
    return {'FOREIGN', i}
  -- One that holds little takes any frame: neither a compaction nor a split would make room for it.
  elseif length + #ARGV[first + i] + 16 > limit and length * 4 > limit then
    return {'FULL', i}
  end
end

-- The id of this execution, not of this request: the same request may be executed twice around a crash.
local now = redis.call('TIME')
local stamp = struct.pack('<I4I4', now[1], now[2]) .. ARGV[2]
local call = redis.call
for i = 1, touched do sizes[i] = call('APPEND', KEYS[i + 2], ARGV[first + i] .. stamp) end
for i = 1, #fresh do call('HSET', index, fresh[i], '0 0') end
for i = 1, partitions do
  local at = 2 + 3 * i
  if stored[i] ~= ARGV[at + 2] then call('HSET', state, ARGV[at], ARGV[at + 2]) end
end
-- One text is a fraction of the price of as many numbers.
return {'OK', table.concat(sizes, ' ')}
