-- why: what stands between a ticket and its slot, in live numbers.
--
-- KEYS as in lines
-- ARGV[1], ARGV[2] as in lines
-- ARGV[3] the ticket
-- Returns JSON: admitted_ms (since it got its slot, or null), place (how many of its line are before it, or null where
-- it is not in line), keys_before (that have their turn first), slots, held, key_held, wait_ms and key_wait_ms (until
-- the rates allow a start; 0: now); or false where the queue is not known here.

if not is_known() then
    return false
end
local limits, now, ticket, key = limits_of_queue(), now_ms(), ARGV[3], key_of(ARGV[3])
local admitted_at = redis.call('ZSCORE', SLOTS, ticket)
local place = redis.call('ZRANK', fresh_line(key), ticket) or redis.call('ZRANK', begun_line(key), ticket)
local turn = redis.call('ZSCORE', TURNS, key)
local result = {
    admitted_ms = admitted_at and now - tonumber(admitted_at) or cjson.null,
    place = place or cjson.null,
    keys_before = turn and redis.call('ZCOUNT', TURNS, '-inf', '(' .. turn) or 0,
    slots = limits.slots,
    held = redis.call('ZCARD', SLOTS),
    key_held = redis.call('SCARD', held_by(key)),
    wait_ms = 0,
    key_wait_ms = 0,
}
if redis.call('ZSCORE', fresh_line(key), ticket) then
    if limits.interval_ms then
        local at = allowed_at(queue_full_at(), limits.interval_ms, limits.burst)
        result.wait_ms = math.max(0, math.ceil(at - now))
    end
    if limits.key_interval_ms then
        local at = allowed_at(key_full_at(limits, key), limits.key_interval_ms, limits.key_burst)
        result.key_wait_ms = math.max(0, math.ceil(at - now))
    end
end
return cjson.encode(result)
