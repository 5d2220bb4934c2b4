#!lua flags=allow-oom
-- Replaces the prefix of a bucket by a snapshot, if the last frame it folds still stands at its place.
-- It may run when memory is full: it is what makes room.
-- KEYS: state, index, bucket. ARGV: life, logical end of the last frame, its id, nonce, snapshot
local index, key = KEYS[2], KEYS[3]
if redis.call('HGET', KEYS[1], 'life') ~= ARGV[1] then return {'STALE'} end
local name = string.sub(key, #index + 2)
local held = redis.call('HGET', index, name)
if held and string.sub(held, 1, 5) == 'split' then return {'STALE'} end
local length = redis.pcall('STRLEN', key)
if type(length) == 'table' then return {'FOREIGN', 1} end
if (length > 0) ~= (held ~= false) then return {'LOST', 1, length} end
if not held then return {'STALE'} end
local last = tonumber(ARGV[2])
local at = last - tonumber(string.match(held, '%S+$'))
if at < 32 or at > length or redis.call('GETRANGE', key, at - 16, at - 1) ~= ARGV[3] then return {'STALE'} end

local tail = ''
if at < length then tail = redis.call('GETRANGE', key, at, -1) end
local now = redis.call('TIME')
local snapshot = ARGV[5] .. struct.pack('<I4I4', now[1], now[2]) .. ARGV[4]
redis.call('SET', key, snapshot .. tail)
redis.call('HSET', index, name, string.format('%d %.0f', #snapshot, last - #snapshot))
return {'DONE'}
