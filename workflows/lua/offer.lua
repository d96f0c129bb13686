-- offer: tickets stand in the ready queue, unless they hold a slot already; then whatever has a slot is admitted.
--
-- KEYS as in admit
-- ARGV score (ms), ticket, score, ticket, ...
-- Returns as admit. Repeating it changes nothing: a ticket keeps its first score.

for i = 1, #ARGV, 2 do
    if not redis.call('ZSCORE', KEYS[2], ARGV[i + 1]) then
        redis.call('ZADD', KEYS[1], 'NX', ARGV[i], ARGV[i + 1])
    end
end
return admit()
