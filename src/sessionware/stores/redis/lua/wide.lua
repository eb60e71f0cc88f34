-- What wide limits of one bucket take, on Redis Cluster: all of it or nothing. ARGV: 3 owner, 4 operation, 5 flags
-- (1 take, 2 once, 4 sure: it was let in by this taking, which is never given back), 6 lease operation, 7 lease until,
-- 8 spends, 9 leases, 10 levels; per spend 7: key, window, carry, cost, allowance, binding, ttl; per lease 3: key,
-- allowance, binding; per level 5: key, allowance, slack, member, due at. A level is a set of members, one for each
-- session that holds it, filed by when to look after it.
-- Answers 'first' or 'again', whether it was taken, tallies before the taking, lease tallies, the counters as they were
-- found, then per level: whether it was taken, how many held it, who is due.
local flags = tonumber(ARGV[5])
local take, once, sure = flags % 2 >= 1, flags % 4 >= 2, flags >= 4
local spends, leases, levels = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local first_lease = 11 + spends * 7
local first_level = first_lease + leases * 3
local operation = 'wide:' .. ARGV[4]
if once then
  local first = first_answer(ARGV[3], operation)
  if first then
    if sure then
      first[1] = 'sure'
      keep_answer(ARGV[3], operation, first)
    end
    first[1] = 'again'
    return first
  end
end

local fits_all, found, tallies, originals = true, {}, {}, {}
for n = 0, spends - 1 do
  local at = 11 + n * 7
  local window, cost = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3])
  local packed = call('GET', base .. 'c:' .. ARGV[at])
  local stored, used, before = rolled(packed, window)
  local allowance, fits = tonumber(ARGV[at + 4]), 1
  if cost >= 0 and level(stored, used, before, window, tonumber(ARGV[at + 2])) + math.max(cost, 1) > allowance then
    fits = 0
    fits_all = fits_all and ARGV[at + 5] ~= '1'
  end
  found[n] = {stored, used, before, cost}
  originals[n + 1] = text(packed)
  tallies[n + 1] = struct.pack('>LLLLB', stored, used, before, allowance, fits)
end
local held = {}
for n = 0, leases - 1 do
  local at = first_lease + n * 3
  local set = base .. 'l:' .. ARGV[at]
  local running = call('ZCOUNT', set, '(' .. ARGV[1], '+inf')
  local mine = call('ZSCORE', set, ARGV[6])
  mine = mine and tonumber(mine) > now
  local allowance = tonumber(ARGV[at + 1])
  local fits = mine or running < allowance
  fits_all = fits_all and (fits or ARGV[at + 2] ~= '1')
  held[n + 1] = struct.pack('>LLBB', running, allowance, fits and 1 or 0, mine and 1 or 0)
end

local reply = {'first', 0, table.concat(tallies), table.concat(held), originals}
local may = {}
for n = 0, levels - 1 do
  local at = first_level + n * 5
  local set, allowance = base .. 'v:' .. ARGV[at], tonumber(ARGV[at + 1])
  local used, due = call('ZCARD', set), {}
  may[n] = used < allowance
  if not may[n] then
    due = call('ZRANGEBYSCORE', set, '-inf', ARGV[1], 'LIMIT', 0, VICTIM_SCAN)
    may[n] = used - allowance + 1 <= tonumber(ARGV[at + 2])
  end
  fits_all = fits_all and may[n]
  reply[#reply + 1] = may[n] and 1 or 0
  reply[#reply + 1] = used
  reply[#reply + 1] = due
end
if not (take and fits_all) then
  return reply
end

reply[2] = 1
for n = 0, spends - 1 do
  local f, at = found[n], 11 + n * 7
  if f[4] ~= 0 then
    local packed = struct.pack('>LLL', f[1], clamped(f[2] + f[4]), f[3])
    if ARGV[at + 6] == '0' then
      call('SET', base .. 'c:' .. ARGV[at], packed)
    else
      call('SET', base .. 'c:' .. ARGV[at], packed, 'PX', ARGV[at + 6])
    end
  end
end
for n = 0, leases - 1 do
  local set = base .. 'l:' .. ARGV[first_lease + n * 3]
  call('ZADD', set, ARGV[7], ARGV[6])
  call('ZREMRANGEBYSCORE', set, '-inf', ARGV[1])
  call('PEXPIRE', set, tonumber(ARGV[7]) - now + 60000)
end
for n = 0, levels - 1 do
  local at = first_level + n * 5
  call('ZADD', base .. 'v:' .. ARGV[at], ARGV[at + 4], ARGV[at + 3])
end
if once then
  reply[1] = sure and 'sure' or 'first'
  keep_answer(ARGV[3], operation, reply)
end
return reply
