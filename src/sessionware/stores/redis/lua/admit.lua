-- One admission (core/admission.py). ARGV: 3 operation, 4 owner, 5 flags, 6 id, 7 link, 8 token, 9 issued_at, 10 pool,
-- 11 upstream, 12 lease until, 13 spends, 14 leases; per spend 9: place, key, window, carry, cost, allowance, mode,
-- ttl, limit; per lease 4: key, allowance, binding, limit; with flag 32 what is counted elsewhere: how many, per limit
-- 3: name, its own allowance, the one that was looked at, and what is kept of it beside the first answer; then the new
-- session, if there is one (making.lua). Flag 64: it was refused there.
local flags = tonumber(ARGV[5])
local touch = flags % 2 >= 1
local wants_data = flags % 4 >= 2
local opens = flags % 8 >= 4
local once = flags % 16 >= 8
local has_new = flags % 32 >= 16
local owner, id, link = ARGV[4], ARGV[6], ARGV[7]
local spends, leases = tonumber(ARGV[13]), tonumber(ARGV[14])
local first_lease = 15 + spends * 9
local new_at = first_lease + leases * 4
local wide_at, wide = new_at, 0
if flags >= 32 then -- Redis Cluster: limits that count in other slots (asking.py)
  wide = tonumber(ARGV[wide_at])
  new_at = wide_at + 2 + wide * 3
end

local by_link = link ~= ''
if link ~= '' then
  local session = call('HGET', base .. 'L:' .. link, 'k')
  if not session or (id ~= '' and id ~= session) then
    id, link = '', ''
  else
    id = session
  end
end

local key = base .. 's:' .. id
local record, state = nil, nil
local created_at, idle, absolute_at, expires_at, seen_at, hits, revision, indexed_at
if id ~= '' then
  local ask = {'HMGET', key, 's', 'o', 'b', 'u', 'l'}
  for n = 0, spends - 1 do
    if ARGV[15 + n * 9] == 's' then
      ask[#ask + 1] = 'c' .. ARGV[16 + n * 9]
    end
  end
  if wants_data then
    ask[#ask + 1] = 'm'
    ask[#ask + 1] = 'd'
  end
  record = call(unpack(ask))
  state = record[1]
end

local row_owner = owner
if state then
  created_at, idle, absolute_at, expires_at, seen_at, hits, revision, indexed_at = struct.unpack(STATE, state)
  row_owner = string.sub(record[2], 1, 32)
end
local not_before, user_limits = -1, nil
if row_owner ~= '' then
  local row = call('HMGET', base .. 'o:' .. row_owner, 'nb', 'l')
  not_before = tonumber(row[1] or '-1')
  user_limits = unpacked(row[2])
end
if state and (now >= expires_at or created_at <= not_before) then
  state = nil
  if owner == '' then
    user_limits = nil
    not_before = -1
  elseif row_owner ~= owner then
    local row = call('HMGET', base .. 'o:' .. owner, 'nb', 'l')
    not_before = tonumber(row[1] or '-1')
    user_limits = unpacked(row[2])
  end
end

-- Fields 3 to 10 of an answer are the session as the client reads it.
local reply = {'admitted', 0, '', '', '', '', '', '', '', '', '', '', {}, '', '', {}, ARGV[1]}
if state then
  if owner == '' then
    if string.sub(record[2], 33) == 't' then
      reply[1] = 'unknown'
      return reply
    end
  elseif owner ~= row_owner then
    reply[1] = 'foreign'
    return reply
  end
elseif by_link or (not has_new and ARGV[6] ~= '') then
  reply[1] = 'unknown'
  if ARGV[6] ~= '' then
    -- How it ended, if the caller may know; one that has expired and is not swept yet is no different.
    local f = call('HMGET', base .. 's:' .. ARGV[6], 's', 'o')
    local who, died = f[2], nil
    if f[1] then
      local born_at, _, _, dies_at = struct.unpack(STATE, f[1])
      if now >= dies_at then
        died = 'expired'
      elseif born_at <= tonumber(call('HGET', base .. 'o:' .. string.sub(who, 1, 32), 'nb') or '-1') then
        died = 'revoked'
      end
    else
      local stone = call('GET', base .. 'z:' .. ARGV[6])
      if stone and struct.unpack('>L', stone) > now then
        who, died = string.sub(stone, 9, 41), string.sub(stone, 42)
      end
    end
    local knows = who and ((owner == '' and string.sub(who, 33) == 'i') or owner == string.sub(who, 1, 32))
    if died and knows then
      reply[14] = died
    end
  end
  return reply
end
if ARGV[8] ~= '' then
  local until_at = call('ZSCORE', base .. 't', ARGV[8])
  if (until_at and tonumber(until_at) > now) or tonumber(ARGV[9]) <= not_before then
    reply[1] = 'revoked'
    return reply
  end
end

-- A repeated operation gets its first answer, but only where it would be let in now, and about the same session.
local operation = 'admit:' .. ARGV[3] .. ARGV[6] .. ARGV[7]
if once then
  local first_answer = rarely()
  local first = first_answer(owner, operation)
  if first and (first[3] == '' or state) then
    return first
  end
end

-- Roll every counter, see whether every binding spend and lease fits.
local session_limits = state and unpacked(record[5]) or nil
local is_new = not state and has_new
local refused = flags >= 64
if wide > 0 then
  -- It was looked at elsewhere without knowing of overrides: where one says otherwise, it must be looked at again.
  local again, differs = {'again'}, false
  for n = 0, wide - 1 do
    local at = wide_at + 1 + n * 3
    again[n + 2] = allowance_of(ARGV[at], tonumber(ARGV[at + 1]), session_limits, user_limits)
    differs = differs or again[n + 2] ~= tonumber(ARGV[at + 2])
  end
  if differs then
    return again
  end
end
local found, field = {}, 6
for n = 0, spends - 1 do
  local at = 15 + n * 9
  local in_session = ARGV[at] == 's'
  local packed
  if in_session then
    packed = state and record[field]
    field = field + 1
  end
  local mode = tonumber(ARGV[at + 6])
  if mode < 2 or is_new then
    if not in_session then
      packed = call('GET', base .. 'c:' .. ARGV[at + 1])
    end
    local window, cost = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 4])
    local stored, used, before = rolled(packed, window)
    local allowance = tonumber(ARGV[at + 5])
    if session_limits or user_limits then
      allowance = allowance_of(ARGV[at + 8], allowance, session_limits, user_limits)
    end
    local fits = 1
    if cost >= 0 and level(stored, used, before, window, tonumber(ARGV[at + 3])) + math.max(cost, 1) > allowance then
      fits = 0
      refused = refused or mode % 2 == 1
    end
    found[n] = {stored, used, before, allowance, fits, cost}
  end
end
local held = {}
for n = 0, leases - 1 do
  local at = first_lease + n * 4
  local set = base .. 'l:' .. ARGV[at]
  local running = call('ZCOUNT', set, '(' .. ARGV[1], '+inf')
  local mine = call('ZSCORE', set, ARGV[3])
  mine = mine and tonumber(mine) > now
  local allowance = allowance_of(ARGV[at + 3], tonumber(ARGV[at + 1]), session_limits, user_limits)
  local fits = (mine or running < allowance) and 1 or 0
  refused = refused or (fits == 0 and ARGV[at + 2] == '1')
  held[n] = {running, allowance, fits, mine}
end

local taken = not refused
if refused then
  reply[1] = 'limited'
elseif is_new then
  local _, _, _, _, sweep_for_levels, room_for, make = rarely()
  id = ARGV[new_at]
  key = base .. 's:' .. id
  sweep_for_levels(new_at, reply[16])
  local room, full = room_for(new_at, nil)
  if room then
    make(new_at, room, reply[16], touch and 1 or 0)
    record = call('HMGET', key, 's', 'o', 'b', 'u', 'l', 'm', 'd')
    state, field = record[1], 6
    created_at, idle, absolute_at, expires_at, seen_at, hits, revision, indexed_at = struct.unpack(STATE, state)
    reply[2] = 1
  else
    reply[1], reply[15], taken = 'full', full, false
  end
end

-- Write, if it is taken, and say how every counter stands.
local write, tallies = {'HSET', key}, {}
for n = 0, spends - 1 do
  local f = found[n]
  if not f then
    tallies[n + 1] = struct.pack('>LLLLB', 0, 0, 0, 0, 2)
  else
    if taken and f[6] ~= 0 then
      local at = 15 + n * 9
      f[2] = clamped(f[2] + f[6])
      local packed = struct.pack('>LLL', f[1], f[2], f[3])
      if ARGV[at] ~= 's' then
        if ARGV[at + 7] == '0' then
          call('SET', base .. 'c:' .. ARGV[at + 1], packed)
        else
          call('SET', base .. 'c:' .. ARGV[at + 1], packed, 'PX', ARGV[at + 7])
        end
      elseif state then
        write[#write + 1] = 'c' .. ARGV[at + 1]
        write[#write + 1] = packed
      end
    end
    tallies[n + 1] = struct.pack('>LLLLB', f[1], f[2], f[3], f[4], f[5])
  end
end
reply[11] = table.concat(tallies)
for n = 0, leases - 1 do
  local h = held[n]
  if taken then
    local set = base .. 'l:' .. ARGV[first_lease + n * 4]
    call('ZADD', set, ARGV[12], ARGV[3]) -- before what frees: a full server must refuse (making.lua)
    call('ZREMRANGEBYSCORE', set, '-inf', ARGV[1])
    call('PEXPIRE', set, tonumber(ARGV[12]) - now + 60000)
    h[1] = h[4] and h[1] or h[1] + 1
  end
  reply[12] = reply[12] .. struct.pack('>LLB', h[1], h[2], h[3])
end
if taken and state then
  if leases > 0 or opens then
    local set = base .. 'n:' .. id
    call('ZADD', set, ARGV[12], ARGV[3])
    call('ZREMRANGEBYSCORE', set, '-inf', ARGV[1])
    call('PEXPIRE', set, tonumber(ARGV[12]) - now + 60000)
  end
  if ARGV[10] ~= '' then
    local bindings = unpacked(record[4]) or {}
    if not bindings[ARGV[10]] then
      local _, _, _, count_binding = rarely()
      bindings[ARGV[10]] = ARGV[11]
      record[4] = cmsgpack.pack(bindings)
      write[#write + 1] = 'u'
      write[#write + 1] = record[4]
      count_binding(ARGV[10], ARGV[11], 1)
    end
  end
  if touch and not is_new then
    seen_at = math.max(now, seen_at)
    expires_at = deadline(seen_at, idle, absolute_at)
    if index_lags(expires_at, indexed_at, idle) then
      indexed_at = expires_at
      call('ZADD', base .. 'x', expires_at, id)
    end
    state = struct.pack(STATE, created_at, idle, absolute_at, expires_at, seen_at, hits + 1, revision, indexed_at)
    write[#write + 1] = 's'
    write[#write + 1] = state
  end
  if #write > 2 then
    call(unpack(write))
  end
end

if state then
  reply[3], reply[4], reply[5], reply[6] = state, record[3], text(record[4]), text(record[5])
  if wants_data then
    reply[7], reply[8] = text(record[field]), text(record[field + 1])
  end
  reply[9], reply[10] = id, record[2]
  if taken and link ~= '' then
    local _, _, shown_link = rarely()
    local seen = touch and call('HGET', base .. 'L:' .. link, 'n')
    if seen and now > tonumber(seen) then
      call('HSET', base .. 'L:' .. link, 'n', ARGV[1])
      call('ZADD', base .. 'j:' .. id, ARGV[1], link)
    end
    reply[13] = shown_link(link)
  end
end
if once and taken then
  local _, keep_answer = rarely()
  local evicted = reply[16]
  reply[16] = {}
  if flags >= 32 then
    reply[18] = ARGV[new_at - 1]
  end
  keep_answer(owner, operation, reply)
  reply[16], reply[18] = evicted, nil
end
return reply
