-- touch: these tickets are published again now; those that hold no slot any more are left alone.
--
-- KEYS as in admit
-- ARGV tickets
-- Returns how many were touched.

local touched = 0
for i = 1, #ARGV do
    touched = touched + redis.call('ZADD', KEYS[2], 'XX', 'CH', now_ms(), ARGV[i])
end
return touched
