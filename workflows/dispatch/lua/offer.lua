-- offer: tickets stand in their lines, unless they hold a slot already; then whatever has a slot is admitted.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] '1': admit; '0': more tickets follow in another call
-- ARGV[4...] score (ms: queued time minus head start), '1' where it has begun, ticket; and so on
-- Returns as admit. Repeating it changes nothing: a ticket keeps its first score.

if not is_known() then
    return false
end
local keys = {}
for i = 4, #ARGV, 3 do
    local score, has_begun, ticket = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if not redis.call('ZSCORE', SLOTS, ticket) then
        join_line(ticket, score, has_begun == '1')
        keys[key_of(ticket)] = true
    end
end
for key in pairs(keys) do
    enter(key)
end
return ARGV[3] == '1' and admit() or { -1 }
