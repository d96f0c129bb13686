-- pass_on: the code of a run has ended. Its slot goes to whoever is next, while the end is still to be written down.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] channel on which callers wait for the end of this run
-- ARGV[4] its ticket
-- Returns {'1' where somebody waits for the end, else '0'; then as admit}. Atomic: the slot is never seen free where a
-- ticket waits for it.

if not is_known() then
    return false
end
local listeners = redis.pcall('PUBSUB', 'NUMSUB', ARGV[3])
local is_awaited = listeners.err ~= nil or listeners[2] > 0 -- an ACL may refuse to tell
give_up(ARGV[4])
return { is_awaited and '1' or '0', unpack(admit()) }
