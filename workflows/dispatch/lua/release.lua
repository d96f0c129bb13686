-- release: tickets give their slots back, or leave their line; then whatever has a slot is admitted.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] channel on which callers wait for the end of this run, or ''
-- ARGV[4...] tickets
-- Returns as admit.

if ARGV[3] ~= '' then
    redis.call('PUBLISH', ARGV[3], 'ended')
end
if not is_known() then
    return false
end
for i = 4, #ARGV do
    leave_line(ARGV[i])
    give_up(ARGV[i])
end
return admit()
