-- pace: admit what the rates allow by now, for beat, which sleeps until there is more.
--
-- KEYS, ARGV as in lines
-- Returns as admit.

if not is_known() then
    return false
end
return admit(true)
