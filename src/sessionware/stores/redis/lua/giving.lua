-- Give back what wide.lua took. ARGV: 3 owner, 4 operation or '' (then it was not asked once), 5 lease operation,
-- 6 spends, 7 leases; per spend 6: key, window where it was charged, how much, ttl, the counter before and after;
-- per lease: key. What nobody else has changed since becomes what it was. Answers 1, or 0 when the operation is not
-- known (any more), or somebody was let in by it: then nothing is given back.
if ARGV[4] ~= '' then
  local operation = 'wide:' .. ARGV[4]
  local first = first_answer(ARGV[3], operation)
  if not first or first[1] == 'sure' then
    return 0
  end
  call('HDEL', base .. 'p:' .. ARGV[3], operation)
  call('ZREM', base .. 'q:' .. ARGV[3], operation)
end
local spends, leases = tonumber(ARGV[6]), tonumber(ARGV[7])
for n = 0, spends - 1 do
  local at = 8 + n * 6
  local packed, window, amount = call('GET', base .. 'c:' .. ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  if packed == ARGV[at + 5] then
    packed = ARGV[at + 4]
  elseif packed then
    local stored, used, before = struct.unpack('>LLL', packed)
    if stored == window then
      used = clamped(used - amount)
    elseif stored == window + 1 then
      before = clamped(before - amount)
    end
    packed = struct.pack('>LLL', stored, used, before)
  end
  if packed == '' then
    call('DEL', base .. 'c:' .. ARGV[at])
  elseif packed then
    if ARGV[at + 3] == '0' then
      call('SET', base .. 'c:' .. ARGV[at], packed)
    else
      call('SET', base .. 'c:' .. ARGV[at], packed, 'PX', ARGV[at + 3])
    end
  end
end
local first_lease = 8 + spends * 6
for n = 0, leases - 1 do
  call('ZREM', base .. 'l:' .. ARGV[first_lease + n], ARGV[5])
end
return 1
