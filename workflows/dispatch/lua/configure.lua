-- configure: the limits of a queue, as Postgres says they are; after a loss everything else begins anew.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] 'change': limits only. 'first', 'loss': where the queue is not known to this generation, whatever is left of
--         it goes, and these tickets hold slots; after a loss the rate buckets begin empty
-- ARGV[4] how many fields follow
-- ARGV[5...] field, value, ... of the hash: digest (of all the others), slots (tickets that may hold one), window,
--         per_key, interval_ms, burst, key_interval_ms, key_burst, paused ('1'), weight:<key>
-- ARGV[...] tickets of running runs
-- Returns as admit.

local known, now = is_known(), now_ms()
if not known and ARGV[3] == 'change' then
    return false
end
local keys_full_at = known and tonumber(redis.call('HGET', queue, 'keys_full_at')) or 0
if not known then
    for key in pairs(keys_with_tickets()) do
        redis.call('UNLINK', fresh_line(key), begun_line(key))
    end
    for _, ticket in ipairs(redis.call('ZRANGE', SLOTS, 0, -1)) do
        redis.call('UNLINK', held_by(key_of(ticket)))
    end
    redis.call('UNLINK', SLOTS, FULL, PACED, TURNS, BEGUN_TURNS, last_turn(TURNS), last_turn(BEGUN_TURNS))
    redis.call('UNLINK', TAT, TATS, WAITING, queue .. ':due')
end
redis.call('DEL', queue)
redis.call('HSET', queue, 'generation', ARGV[1])
local last_field = 4 + 2 * tonumber(ARGV[4])
for i = 5, last_field, 2 do
    redis.call('HSET', queue, ARGV[i], ARGV[i + 1])
end
-- A bucket is never more than empty: what a slower rate had left to wait for is not waited for. After a loss it is empty.
local limits, is_lost = limits_of_queue(), not known and ARGV[3] == 'loss'
if limits.interval_ms then
    local empty_until = now + limits.burst * limits.interval_ms
    remember_full_at(is_lost and empty_until or math.min(queue_full_at(), empty_until), now)
end
if limits.key_interval_ms then
    local empty_until = now + limits.key_burst * limits.key_interval_ms
    keys_full_at = is_lost and empty_until or math.min(keys_full_at, empty_until)
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', TATS, empty_until, '+inf')) do
        redis.call('ZADD', TATS, empty_until, key)
    end
end
redis.call('HSET', queue, 'keys_full_at', keys_full_at)
for i = last_field + 1, #ARGV do
    leave_line(ARGV[i])
    hold_slot(ARGV[i], now)
end
-- What was set aside under the old limits is looked at again.
local full, paced = redis.call('SMEMBERS', FULL), redis.call('ZRANGE', PACED, 0, -1)
redis.call('DEL', FULL, PACED)
for _, keys in ipairs({ full, paced }) do
    for _, key in ipairs(keys) do
        enter(key)
    end
end
return admit()
