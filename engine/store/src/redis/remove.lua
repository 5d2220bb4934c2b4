#!lua flags=allow-oom
-- Removes a revision: its life first of all, so that no commit, compaction or split finds the one it was made on.
-- Only if that is what the client saw of it. It may run when memory is full: it makes room.
-- KEYS: state, index, buckets that were there, what is kept of those that were split ...
-- ARGV: life that was there ('' none), number of buckets
local state, index, buckets = KEYS[1], KEYS[2], tonumber(ARGV[2])
if (redis.call('HGET', state, 'life') or '') ~= ARGV[1] then return {'AGAIN'} end
if redis.call('HLEN', index) ~= buckets then return {'AGAIN'} end
for i = 3, buckets + 2 do
  if redis.call('HEXISTS', index, string.sub(KEYS[i], #index + 2)) == 0 then return {'AGAIN'} end
end
for i = 1, #KEYS do redis.call('UNLINK', KEYS[i]) end
return {'OK'}
