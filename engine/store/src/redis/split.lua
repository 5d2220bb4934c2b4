#!lua flags=allow-oom
-- Replaces a bucket by two, if the last frame that their snapshots fold is still its last one. Else changes nothing.
-- What its newest frames were is kept for a while beside it: a reader that folded one of them goes on from there.
-- KEYS: state, index, bucket, its halves, what is kept
-- ARGV: life, logical end of the last frame, its id, nonce, logical end from which on frames are kept, for how long (ms),
--       snapshots
local index, key = KEYS[2], KEYS[3]
if redis.call('HGET', KEYS[1], 'life') ~= ARGV[1] then return {'STALE'} end
local function name(key) return string.sub(key, #index + 2) end
local held = redis.call('HGET', index, name(key))
if held and string.sub(held, 1, 5) == 'split' then return {'STALE'} end
local length = redis.pcall('STRLEN', key)
if type(length) == 'table' then return {'FOREIGN', 1} end
if (length > 0) ~= (held ~= false) then return {'LOST', 1, length} end
if not held then return {'STALE'} end
local last, shift = tonumber(ARGV[2]), tonumber(string.match(held, '%S+$'))
local at = last - shift
if at < 32 or at ~= length or redis.call('GETRANGE', key, at - 16, at - 1) ~= ARGV[3] then return {'STALE'} end
for i = 4, 5 do
  local half = redis.pcall('STRLEN', KEYS[i])
  if type(half) == 'table' then return {'FOREIGN', i - 2} end
  if half > 0 or redis.call('HEXISTS', index, name(KEYS[i])) == 1 then return {'LOST', i - 2, 1} end
end

local now = redis.call('TIME')
local stamp = struct.pack('<I4I4', now[1], now[2]) .. ARGV[4]
-- With the stamp of the frame before them, by which a reader that folded just that one is known.
local from = math.max(tonumber(ARGV[5]) - shift - 16, 0)
redis.call('SET', KEYS[6], redis.call('GETRANGE', key, from, -1), 'PX', ARGV[6])
for i = 4, 5 do
  local snapshot = ARGV[i + 3] .. stamp
  redis.call('SET', KEYS[i], snapshot)
  redis.call('HSET', index, name(KEYS[i]), string.format('%d %.0f', #snapshot, last - #snapshot))
end
redis.call('DEL', key)
local id = string.gsub(stamp, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
redis.call('HSET', index, name(key), string.format('split %.0f %.0f %s', from + shift, last, id))
return {'DONE', stamp}
