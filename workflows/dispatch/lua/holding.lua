-- holding: who holds a slot, for the sweep that compares Redis with Postgres.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] '1': count those that wait, key by key; '0': believe the count
-- Returns {digest of the limits, window, how many tickets stand in line, ticket, ms since it was last published, ticket,
-- ms, ...}, or false where the queue is not known here.

if not is_known() then
    return false
end
local waiting = tonumber(redis.call('GET', WAITING) or 0)
if ARGV[3] == '1' then
    waiting = 0
    for key in pairs(keys_with_tickets()) do
        waiting = waiting + redis.call('ZCARD', fresh_line(key)) + redis.call('ZCARD', begun_line(key))
    end
    redis.call('SET', WAITING, waiting)
end
local now, slots = now_ms(), redis.call('ZRANGE', SLOTS, 0, -1, 'WITHSCORES')
local result = { redis.call('HGET', queue, 'digest'), tonumber(redis.call('HGET', queue, 'window')), waiting }
for i = 1, #slots, 2 do
    result[#result + 1] = slots[i]
    result[#result + 1] = math.floor(now - tonumber(slots[i + 1]))
end
return result
