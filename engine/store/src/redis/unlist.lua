#!lua flags=allow-oom
-- A revision that was removed is no longer one of its metric's, nor the one that answers.
-- KEYS: revisions, pointer. ARGV: the revision, what the pointer is if it names it
redis.call('SREM', KEYS[1], ARGV[1])
if redis.call('GET', KEYS[2]) == ARGV[2] then redis.call('DEL', KEYS[2]) end
return {'OK'}
