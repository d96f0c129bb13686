-- holding: who holds a slot, for the sweep that compares Redis with Postgres.
--
-- KEYS as in admit
-- Returns {limit, how many are ready, ticket, age in ms since it was last published, ticket, age, ...}, or false when
-- the limits are not known here: Redis came back empty.

local limit = redis.call('HGET', KEYS[3], 'slots')
if not limit then
    return false
end
local now = now_ms()
local slots = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local result = { tonumber(limit), redis.call('ZCARD', KEYS[1]) }
for i = 1, #slots, 2 do
    result[#result + 1] = slots[i]
    result[#result + 1] = math.floor(now - tonumber(slots[i + 1]))
end
return result
