-- release: tickets give their slots back, or leave their line; then whatever has a slot is admitted.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] channel on which callers wait for the end of this run, or ''
-- ARGV[4...] tickets
-- Returns as admit. Slots are members of a set, not a count: releasing twice frees one slot.

if ARGV[3] ~= '' then
    redis.call('PUBLISH', ARGV[3], 'ended')
end
if not is_known() then
    return false
end
for i = 4, #ARGV do
    local key = key_of(ARGV[i])
    leave_line(ARGV[i])
    redis.call('ZREM', SLOTS, ARGV[i])
    redis.call('SREM', held_by(key), ARGV[i])
    if redis.call('SREM', FULL, key) == 1 then
        enter(key)
    end
end
return admit()
