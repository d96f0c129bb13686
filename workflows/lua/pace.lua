-- pace: admit what the rates allow by now.
--
-- KEYS, ARGV as in lines
-- Returns as admit.

if not is_known() then
    return false
end
return admit()
