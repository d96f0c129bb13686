-- rate: starts per time, as GCRA. A bucket is one number: the time at which it is full again.
--
-- A start moves that time on by one interval, and is allowed while it is less than `burst` intervals ahead.
--
-- KEYS, ARGV as in lines
-- Returns nothing: it defines names.

local TAT, TATS = queue .. ':tat', queue .. ':tats'

-- After a loss the bucket counts as empty at that moment (`paced_from`), so no limit is exceeded by forgetting.
local function full_again_at(stored, interval_ms, burst, paced_from)
    local at = tonumber(stored or 0)
    return paced_from and math.max(at, paced_from + burst * interval_ms) or at
end

local function allowed_at(full_at, interval_ms, burst)
    return full_at - (burst - 1) * interval_ms
end
