-- admit: take waiting tickets into free slots. Keys take turns; inside a key the best score is first.
--
-- KEYS, ARGV as in lines
-- Returns {wait_ms, ticket, ...}: those that were admitted, and in how many ms a rate allows the next (-1: a slot, a key
-- or a ticket has to come free first, and whoever brings it asks again). Or false where the limits are not known here.
-- Atomic, as each script is: no two callers can take the same slot.

local ADMIT_LIMIT = 2000 -- tickets in one call; who gets so many asks again
local TOGETHER_MS = 25 -- starts that a rate allows within so short a time may wait for each other

local function limits_of_queue()
    local names = { 'slots', 'per_key', 'interval_ms', 'burst', 'key_interval_ms', 'key_burst', 'keys_full_at' }
    local values, limits = redis.call('HMGET', queue, 'paused', unpack(names)), {}
    for i, name in ipairs(names) do
        limits[name] = tonumber(values[i + 1])
    end
    limits.is_paused = values[1] == '1'
    return limits
end

local function start_rates(limits, key, now)
    if limits.interval_ms then
        remember_full_at(math.max(queue_full_at(), now) + limits.interval_ms, now)
    end
    if limits.key_interval_ms then
        redis.call('ZADD', TATS, math.max(key_full_at(limits, key), now) + limits.key_interval_ms, key)
    end
end

-- The first ticket of a key that may start now. A key whose rate holds it back is set aside until it allows one.
local function first_of(limits, key, is_open, now)
    local begun = redis.call('ZRANGE', begun_line(key), 0, 0, 'WITHSCORES')
    local fresh = is_open and redis.call('ZRANGE', fresh_line(key), 0, 0, 'WITHSCORES') or {}
    if fresh[1] and limits.key_interval_ms then
        local at = allowed_at(key_full_at(limits, key), limits.key_interval_ms, limits.key_burst)
        if at > now then
            redis.call('ZADD', PACED, at, key)
            fresh = {}
        end
    end
    if fresh[1] and (not begun[1] or tonumber(fresh[2]) < tonumber(begun[2])) then
        return fresh[1], true
    end
    return begun[1], false
end

-- What goes on while the rate of the queue allows no start costs its key no turn among those that start: the keys that
-- have nothing else would take them all.
local function pass_turn(turns, key, turn)
    redis.call('SET', last_turn(turns), turn)
    redis.call('ZADD', turns, 'XX', turn + stride(key), key)
end

local function leave_turns(key, is_open)
    redis.call('ZREM', BEGUN_TURNS, key)
    if is_open then
        redis.call('ZREM', TURNS, key)
    end
end

-- Until a rate allows the next start; where it has a burst, until it allows several, so that a fast one is not looked at
-- for each. `is_told`: the caller is beat itself, which sleeps so long.
local function wait_ms(limits, is_open, now, is_told)
    local paced = redis.call('ZRANGE', PACED, 0, 0, 'WITHSCORES')
    local at = tonumber(paced[2] or math.huge)
    if not is_open then
        local together = math.floor(math.min((limits.burst - 1) / 2, TOGETHER_MS / limits.interval_ms))
        local open_at = allowed_at(queue_full_at(), limits.interval_ms, limits.burst) + together * limits.interval_ms
        at = redis.call('ZCARD', TURNS) > 0 and open_at or math.max(open_at, at)
    end
    if at == math.huge then
        return -1
    end
    local told = tonumber(redis.call('GET', queue .. ':due') or 0)
    if told <= now or at < told then
        redis.call('SET', queue .. ':due', at, 'PX', math.ceil(at - now) + 60000)
        if not is_told then
            redis.call('PUBLISH', 'celeriac:nudge', 'pacer')
        end
    end
    return math.max(1, math.ceil(at - now))
end

local function admit(is_told)
    local limits, now, admitted = limits_of_queue(), now_ms(), { -1 }
    if limits.is_paused then
        return admitted
    end
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', PACED, '-inf', now)) do
        redis.call('ZREM', PACED, key)
        enter(key)
    end
    local free = math.min(limits.slots - redis.call('ZCARD', SLOTS), ADMIT_LIMIT)
    while #admitted - 1 < free do
        local is_open = not limits.interval_ms
            or allowed_at(queue_full_at(), limits.interval_ms, limits.burst) <= now
        local turns = is_open and TURNS or BEGUN_TURNS
        local next_one = redis.call('ZRANGE', turns, 0, 0, 'WITHSCORES')
        local key, turn = next_one[1], tonumber(next_one[2])
        if not key then
            admitted[1] = wait_ms(limits, is_open, now, is_told)
            break
        end
        if limits.per_key and redis.call('SCARD', held_by(key)) >= limits.per_key then
            leave_turns(key, true)
            redis.call('ZREM', PACED, key)
            redis.call('SADD', FULL, key)
        else
            local ticket, is_fresh = first_of(limits, key, is_open, now)
            if ticket then
                leave_line(ticket)
                hold_slot(ticket, now)
                if is_fresh then
                    start_rates(limits, key, now)
                end
                pass_turn(turns, key, turn)
                admitted[#admitted + 1] = ticket
            else
                leave_turns(key, is_open)
            end
        end
    end
    redis.call('ZREMRANGEBYSCORE', TATS, '-inf', now)
    return admitted
end
