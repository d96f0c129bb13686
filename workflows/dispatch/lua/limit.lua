-- limit: one more request of somebody, or when there may be one. GCRA as in rate.lua, with the clock of the server.
--
-- KEYS[1]  the bucket: the time in ms at which it is full again
-- ARGV[1]  ms that one request takes to come back
-- ARGV[2]  burst: requests that may come at once
-- Returns {1 or 0: it may come, how many more may come now, ms until one may (0: now), ms until all may again}
--
-- Atomic: to look and to take is one step, so that two processes do not give the same request away.

local interval_ms, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local allowed_at = full_at - (burst - 1) * interval_ms
if allowed_at > now then
    return { 0, 0, math.ceil(allowed_at - now), math.ceil(full_at - now) }
end
full_at = full_at + interval_ms
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1000)
return { 1, math.floor((now - full_at) / interval_ms + burst), 0, math.ceil(full_at - now) }
