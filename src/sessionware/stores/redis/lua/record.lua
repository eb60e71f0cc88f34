-- One fact (core/facts.py). ARGV: 3 kind, then what the kind says. Answers 1 when it was booked.
local kind = ARGV[3]

local function live(id)
  local state = call('HGET', base .. 's:' .. id, 's')
  if state then
    local _, _, _, expires_at = struct.unpack(STATE, state)
    return now < expires_at and state or nil
  end
  return nil
end

-- 4 id, 5 at, 6 hits
if kind == 'touched' then
  local state = live(ARGV[4])
  if not state then
    return 0
  end
  local created_at, idle, absolute_at, expires_at, seen_at, hits, revision, indexed_at = struct.unpack(STATE, state)
  seen_at = math.max(tonumber(ARGV[5]), seen_at)
  expires_at = deadline(seen_at, idle, absolute_at)
  if index_lags(expires_at, indexed_at, idle) then
    indexed_at = expires_at
    call('ZADD', base .. 'x', expires_at, ARGV[4])
  end
  call('HSET', base .. 's:' .. ARGV[4], 's', struct.pack(STATE, created_at, idle, absolute_at, expires_at, seen_at,
    hits + tonumber(ARGV[6]), revision, indexed_at))
  return 1
end

-- 4 owner, 5 operation, 6 id or '', 7 count, then per spend: place, key, window, cost, ttl; then, on Redis Cluster, what
-- was settled in other buckets: a repeat is told what that was the first time
if kind == 'settled' then
  local first = first_answer(ARGV[4], 'settle:' .. ARGV[5])
  if first then
    return first[2] and {0, first[2]} or 0
  end
  local session = ARGV[6] ~= '' and live(ARGV[6]) and base .. 's:' .. ARGV[6] or nil
  for n = 0, tonumber(ARGV[7]) - 1 do
    local at = 8 + n * 5
    local in_session, window, cost = ARGV[at] == 's', tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local packed
    if not in_session then
      packed = call('GET', base .. 'c:' .. ARGV[at + 1])
    elseif session then
      packed = call('HGET', session, 'c' .. ARGV[at + 1])
    end
    local stored, used, before
    if packed then
      stored, used, before = struct.unpack('>LLL', packed)
    end
    local changed = nil
    if not stored or stored < window then
      if stored or cost > 0 then
        stored, used, before = rolled(packed, window)
        changed = struct.pack('>LLL', stored, clamped(used + cost), before)
      end
    elseif stored == window then
      changed = struct.pack('>LLL', stored, clamped(used + cost), before)
    elseif stored == window + 1 then
      changed = struct.pack('>LLL', stored, used, clamped(before + cost))
    end
    if changed then
      if in_session then
        if session then
          call('HSET', session, 'c' .. ARGV[at + 1], changed)
        end
      elseif ARGV[at + 4] == '0' then
        call('SET', base .. 'c:' .. ARGV[at + 1], changed)
      else
        call('SET', base .. 'c:' .. ARGV[at + 1], changed, 'PX', ARGV[at + 4])
      end
    end
  end
  keep_answer(ARGV[4], 'settle:' .. ARGV[5], {1, ARGV[8 + tonumber(ARGV[7]) * 5]})
  return 1
end

-- 4 operation, 5 id or '', 6 until, then the lease keys
if kind == 'renewed' then
  local ttl = tonumber(ARGV[6]) - now + 60000
  for n = 7, #ARGV do
    call('ZADD', base .. 'l:' .. ARGV[n], ARGV[6], ARGV[4])
    call('PEXPIRE', base .. 'l:' .. ARGV[n], ttl)
  end
  if ARGV[5] == '' then
    return 1
  elseif not live(ARGV[5]) then
    return 0
  end
  call('ZADD', base .. 'n:' .. ARGV[5], ARGV[6], ARGV[4])
  call('PEXPIRE', base .. 'n:' .. ARGV[5], ttl)
  return 1
end

-- 4 operation, 5 id or '', then the lease keys
if kind == 'released' then
  local released = 0
  local function release(set)
    local until_at = call('ZSCORE', set, ARGV[4])
    if until_at and tonumber(until_at) > now then
      released = 1
    end
    call('ZREM', set, ARGV[4])
  end
  for n = 6, #ARGV do
    release(base .. 'l:' .. ARGV[n])
  end
  if ARGV[5] ~= '' and live(ARGV[5]) then
    release(base .. 'n:' .. ARGV[5])
  end
  return released
end

-- 4 receipt
if kind == 'acknowledged' then
  return forget_end(ARGV[4])
end

-- 4 id, 5 at
if kind == 'interrupted' then
  if not live(ARGV[4]) then
    return 0
  end
  publish('I' .. ARGV[4] .. string.sub(base, -3, -2) .. ARGV[5])
  return 1
end

-- 4 whose (session, user, org), 5 id, owner or org, 6 until, then per limit: name, allowance or ''
local key, field = base .. 'o:' .. ARGV[5], 'l'
if ARGV[4] == 'session' then
  key = base .. 's:' .. ARGV[5]
  if not live(ARGV[5]) then
    return 0
  end
elseif ARGV[4] == 'org' then
  key, field = base .. 'w', ARGV[5]
end
local limits = {}
for name, override in pairs(unpacked(call('HGET', key, field)) or {}) do
  if now < override[2] then
    limits[name] = override
  end
end
for n = 7, #ARGV, 2 do
  limits[ARGV[n]] = nil
  if ARGV[n + 1] ~= '' then
    limits[ARGV[n]] = {tonumber(ARGV[n + 1]), tonumber(ARGV[6])}
  end
end
local packed = ''
if next(limits) then
  packed = cmsgpack.pack(limits)
  call('HSET', key, field, packed)
else
  call('HDEL', key, field)
end
if ARGV[4] == 'session' then
  local state = {struct.unpack(STATE, call('HGET', key, 's'))}
  call('HSET', key, 's', struct.pack(STATE, state[1], state[2], state[3], state[4], state[5], state[6], state[7] + 1,
    state[8]))
elseif ARGV[4] == 'org' then
  publish('W' .. ARGV[5] .. packed)
end
return 1
