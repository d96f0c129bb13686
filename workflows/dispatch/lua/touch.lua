-- touch: these tickets are published again now; those that hold no slot any more are left alone.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3...] tickets
-- Returns how many were touched.

local touched = 0
for i = 3, #ARGV do
    touched = touched + redis.call('ZADD', SLOTS, 'XX', 'CH', now_ms(), ARGV[i])
end
return touched
