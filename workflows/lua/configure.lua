-- configure: the limit of a queue, as Postgres says it is; tickets of running runs hold their slots again.
--
-- KEYS as in admit
-- ARGV[1] how many tickets may hold a slot
-- ARGV[2...] tickets of running runs
-- Returns as admit.

redis.call('HSET', KEYS[3], 'slots', ARGV[1])
for i = 2, #ARGV do
    redis.call('ZADD', KEYS[2], 'NX', now_ms(), ARGV[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
end
return admit()
