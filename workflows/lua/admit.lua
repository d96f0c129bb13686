-- admit: take waiting tickets into free slots, best score first. Prepended to the scripts that need it.
--
-- KEYS[1] ready   zset ticket -> score, in ms: queued time minus head start
-- KEYS[2] slots   zset ticket -> when it was last published, in ms
-- KEYS[3] limits  hash; field `slots`: how many tickets may hold a slot
-- Returns the admitted tickets, or false when the limits are not known here: Redis came back empty, and nothing may
-- be admitted before the slots of running runs are taken again (configure).
-- Atomic, as each script is: no two callers can take the same slot.

local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function admit()
    local limit = redis.call('HGET', KEYS[3], 'slots')
    if not limit then
        return false
    end
    local free = math.min(tonumber(limit) - redis.call('ZCARD', KEYS[2]), 1000)
    if free <= 0 then
        return {}
    end
    local popped = redis.call('ZPOPMIN', KEYS[1], free)
    local admitted = {}
    for i = 1, #popped, 2 do
        redis.call('ZADD', KEYS[2], now_ms(), popped[i])
        admitted[#admitted + 1] = popped[i]
    end
    return admitted
end
