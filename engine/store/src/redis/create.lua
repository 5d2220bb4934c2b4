#!lua
-- Begins a new life of a revision, empty; what the old one held goes. Only if that is what the client saw of it.
-- KEYS: state, index, buckets that were there ... ARGV: life that was there ('' none), format, life, meta
local state, index = KEYS[1], KEYS[2]
if (redis.call('HGET', state, 'life') or '') ~= ARGV[1] then return {'AGAIN'} end
if redis.call('HLEN', index) ~= #KEYS - 2 then return {'AGAIN'} end
for i = 3, #KEYS do
  if redis.call('HEXISTS', index, string.sub(KEYS[i], #index + 2)) == 0 then return {'AGAIN'} end
end
for i = 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HSET', state, 'format', ARGV[2], 'life', ARGV[3], 'meta', ARGV[4])
return {'OK'}
