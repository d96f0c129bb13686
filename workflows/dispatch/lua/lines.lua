-- lines: where the tickets of a queue stand. Prepended to every script, with rate.lua and admit.lua after it.
--
-- A queue has a line for each concurrency key ('' is the key of those that have none), and the keys take turns. A
-- ticket is `run:epoch:key:workflow`, and `?delivery` after it where its message is not sent as usual.
--
-- KEYS[1] the queue, `celeriac:{name}`: a hash with its limits, see `configure`. The other keys are named after it, so
--         that they are in one slot of a cluster:
--           :fresh:<key>  zset ticket -> score in ms  runs of this key that wait for the start of an attempt
--           :begun:<key>  zset ticket -> score in ms  runs of it that go on after a wait or a lost worker: no rate
--           :slots        zset ticket -> ms           who holds a slot, and when it was last published
--           :held:<key>   set                         the tickets of this key among them
--           :turns        zset key -> turn            keys that may be served, the next one first
--           :begun_turns  zset key -> turn            those of them that have begun runs
--           :full         set                         keys with tickets, all of whose slots are held
--           :paced        zset key -> ms              keys whose rate allows the next start at that time
--           :turns:last, :begun_turns:last  strings   the turns that were served last
--           :tat, :tats   string, zset key -> ms      when the rate bucket of the queue, of a key, is full again
--           :due          string, ms                  when beat was told to look again
--           :waiting      string                      how many tickets stand in lines; `holding` counts anew now and then
-- ARGV[1] generation: which life of which server the caller speaks to. Limits of another generation are not known here.
-- ARGV[2] the time in ms, in tests; '' is the server's clock
-- Returns nothing: it defines names.

local queue = KEYS[1]
local SLOTS, FULL, PACED, WAITING = queue .. ':slots', queue .. ':full', queue .. ':paced', queue .. ':waiting'
local TURNS, BEGUN_TURNS = queue .. ':turns', queue .. ':begun_turns'

local function last_turn(turns)
    return turns .. ':last'
end

local function fresh_line(key)
    return queue .. ':fresh:' .. key
end

local function begun_line(key)
    return queue .. ':begun:' .. key
end

local function held_by(key)
    return queue .. ':held:' .. key
end

local function key_of(ticket)
    return string.match(ticket, '^[^:]*:[^:]*:([^:]*):')
end

local function now_ms()
    if ARGV[2] ~= '' then
        return tonumber(ARGV[2])
    end
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Redis came back empty, or from an old snapshot: nothing may be believed before `configure` has restored it.
local function is_known()
    return redis.call('HGET', queue, 'generation') == ARGV[1]
end

-- How far a key goes on with each turn it has: one with weight 3 has three turns while another has one.
local function stride(key)
    return 1 / (tonumber(redis.call('HGET', queue, 'weight:' .. key)) or 1)
end

-- A key that has tickets takes its turn in the next round, a hair before those that had theirs in this one: so nobody has
-- two turns before its first, and it has no claim for what it missed while it had nothing to run.
local function enter_turns(turns, key)
    local turn = tonumber(redis.call('GET', last_turn(turns)) or 0) + stride(key) * 0.999999
    redis.call('ZADD', turns, 'NX', turn, key)
end

local function enter(key)
    if redis.call('SISMEMBER', FULL, key) == 1 then
        return
    end
    local has_begun = redis.call('EXISTS', begun_line(key)) == 1
    if not has_begun and redis.call('EXISTS', fresh_line(key)) == 0 then
        return
    end
    if has_begun then
        enter_turns(BEGUN_TURNS, key)
    end
    if has_begun or not redis.call('ZSCORE', PACED, key) then
        enter_turns(TURNS, key)
    end
end

local function keys_with_tickets()
    local keys = {}
    for _, source in ipairs({
        redis.call('ZRANGE', TURNS, 0, -1),
        redis.call('ZRANGE', BEGUN_TURNS, 0, -1),
        redis.call('ZRANGE', PACED, 0, -1),
        redis.call('SMEMBERS', FULL),
    }) do
        for _, key in ipairs(source) do
            keys[key] = true
        end
    end
    return keys
end

local function hold_slot(ticket, at_ms)
    redis.call('ZADD', SLOTS, 'NX', at_ms, ticket)
    redis.call('SADD', held_by(key_of(ticket)), ticket)
end

-- Held or not: releasing twice frees one slot, since slots are members of a set and no count.
local function give_up(ticket)
    local key = key_of(ticket)
    redis.call('ZREM', SLOTS, ticket)
    redis.call('SREM', held_by(key), ticket)
    if redis.call('SREM', FULL, key) == 1 then
        enter(key)
    end
end

local function join_line(ticket, score, has_begun)
    local key = key_of(ticket)
    local joined = redis.call('ZADD', has_begun and begun_line(key) or fresh_line(key), 'NX', score, ticket)
    redis.call('INCRBY', WAITING, joined)
end

local function leave_line(ticket)
    local key = key_of(ticket)
    local left = redis.call('ZREM', fresh_line(key), ticket) + redis.call('ZREM', begun_line(key), ticket)
    if left > 0 then
        redis.call('DECRBY', WAITING, left)
        if redis.call('EXISTS', fresh_line(key), begun_line(key)) == 0 then
            redis.call('ZREM', TURNS, key)
            redis.call('ZREM', BEGUN_TURNS, key)
            redis.call('ZREM', PACED, key)
            redis.call('SREM', FULL, key)
        end
    end
end
