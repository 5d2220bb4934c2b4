#!lua
-- Sets a metric's pointer, if it is what the client expects. KEYS: pointer. ARGV: expected ('' none), new
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return {'NO'} end
redis.call('SET', KEYS[1], ARGV[2])
return {'YES'}
