-- release: tickets give their slots back, or leave the ready queue; then whatever has a slot is admitted.
--
-- KEYS as in admit
-- ARGV[1] channel on which callers wait for the end of this run, or ''
-- ARGV[2...] tickets
-- Returns as admit. Slots are members of a set, not a count: releasing twice frees one slot.

for i = 2, #ARGV do
    redis.call('ZREM', KEYS[2], ARGV[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
end
if ARGV[1] ~= '' then
    redis.call('PUBLISH', ARGV[1], 'ended')
end
return admit()
