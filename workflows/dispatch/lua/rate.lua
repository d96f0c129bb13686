-- rate: starts per time, as GCRA. A bucket is one number: the time at which it is full again.
--
-- A start moves that time on by one interval, and is allowed while it is less than `burst` intervals ahead.
--
-- KEYS, ARGV as in lines
-- Returns nothing: it defines names.

local TAT, TATS = queue .. ':tat', queue .. ':tats'

local function queue_full_at()
    return tonumber(redis.call('GET', TAT) or 0)
end

-- After a loss those of all keys were empty, so no limit is exceeded by forgetting: `keys_full_at`.
local function key_full_at(limits, key)
    return math.max(tonumber(redis.call('ZSCORE', TATS, key) or 0), limits.keys_full_at or 0)
end

local function remember_full_at(full_at, now)
    redis.call('SET', TAT, full_at, 'PX', math.max(1, math.ceil(full_at - now)) + 60000)
end

local function allowed_at(full_at, interval_ms, burst)
    return full_at - (burst - 1) * interval_ms
end
