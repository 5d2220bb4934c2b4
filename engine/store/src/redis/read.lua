#!lua flags=no-writes
-- One moment of a revision: its state, and of each bucket what follows the frame that the reader folded, or all of it.
-- KEYS: state, index, buckets ...
-- ARGV: bytes to return at most, per bucket: where in the string that frame should end ('' not known), its logical end
--       ('' nothing was folded), its id
-- Per bucket: what follows, where the frame stood where it should and all fits; else whether it stands at all, bytes left
-- out, bytes, the index's entry. A bucket that was split has what is kept of it, if the reader's frame stands there.
local state = redis.call('HGETALL', KEYS[1])
if #state == 0 then return {'NONE'} end

local index, budget, pcall, out = KEYS[2], tonumber(ARGV[1]), redis.pcall, {}
local function is(bytes, id) return bytes == id end
for i = 1, #KEYS - 2 do
  local key, place, id = KEYS[i + 2], ARGV[3 * i - 1], ARGV[3 * i + 1]
  if place ~= '' then
    -- One byte more than may be returned shows whether there is more.
    local found = pcall('GETRANGE', key, place - 16, place + budget)
    if type(found) == 'table' then return {'FOREIGN', i} end
    if #found <= 16 + budget and is(string.sub(found, 1, 16), id) then
      out[i] = string.sub(found, 17)
      budget = budget - #out[i]
    end
  end
  if not out[i] then
    local held = redis.call('HGET', index, string.sub(key, #index + 2))
    local length = pcall('STRLEN', key)
    if type(length) == 'table' then return {'FOREIGN', i} end
    local split = held and string.match(held, '^split (%d+)')
    if (length > 0) ~= (held ~= false and not split) then return {'LOST', i, length} end
    local from, stands = 0, 0
    if split then
      -- What is kept of it is no declared key: where it is not found, the reader begins anew.
      local at, kept = (tonumber(ARGV[3 * i]) or 0) - tonumber(split), ''
      if at >= 16 then kept = pcall('GETRANGE', key .. ':was', at - 16, -1) end
      if type(kept) == 'string' and #kept >= 16 and is(string.sub(kept, 1, 16), id) then
        out[i] = {1, 0, string.sub(kept, 17), held}
      else
        out[i] = {0, 0, '', held}
      end
    elseif held and ARGV[3 * i] ~= '' then
      local at = tonumber(ARGV[3 * i]) - tonumber(string.match(held, '%S+$'))
      if at >= 32 and at <= length and is(redis.call('GETRANGE', key, at - 16, at - 1), id) then from, stands = at, 1 end
    end
    if not out[i] then
      local take, bytes = math.min(length - from, budget), ''
      if take > 0 then bytes = redis.call('GETRANGE', key, from, from + take - 1) end
      budget = budget - take
      out[i] = {stands, length - from - take, bytes, held}
    end
  end
end
return {'OK', state, out}
