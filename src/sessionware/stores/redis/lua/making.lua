-- Making room for a session, and making it. A new session's arguments begin at ARGV[at]:
-- 0 id, 1 owner, 2 proof, 3 created_at, 4 idle, 5 absolute_at, 6 expires_at, 7 seen_at, 8 hits, 9 revision, 10 birth,
-- 11 metadata, 12 data, 13 started_by, 14 bindings, 15 limits, 16 holds, 17 '1' if named, 18 owner cap, 19 evict,
-- 20 level count, then per level: name, key, allowance.
local function live_state(id, not_before)
  local packed = call('HGET', base .. 's:' .. id, 's')
  if not packed then
    return nil, nil
  end
  local created_at, _, _, expires_at = struct.unpack(STATE, packed)
  if now >= expires_at then
    return packed, 'expired'
  elseif created_at <= not_before then
    return packed, 'revoked'
  end
  return packed, nil
end

local function not_before_of(owner)
  return tonumber(call('HGET', base .. 'o:' .. owner, 'nb') or '-1')
end

local function is_open(id)
  return call('ZCOUNT', base .. 'n:' .. id, '(' .. ARGV[1], '+inf') > 0
end

-- A full server refuses a script only at its first write, and only if that takes memory. Whatever ends
-- sessions to make one does this before: it changes nothing, and an OOM error ends the script here.
local function want_memory()
  call('INCRBY', base .. 'es', 0)
end

-- Up to `limit` expired sessions, by the index; what was touched since it was filed is filed anew.
local function due_sessions(limit)
  local due = {}
  while #due < limit do
    local ids = call('ZRANGEBYSCORE', base .. 'x', '-inf', ARGV[1], 'LIMIT', #due, limit - #due)
    if #ids == 0 then
      break
    end
    for _, id in ipairs(ids) do
      local packed = call('HGET', base .. 's:' .. id, 's')
      if not packed then
        call('ZREM', base .. 'x', id)
      else
        local created_at, idle, absolute_at, expires_at, seen_at, hits, revision = struct.unpack(STATE, packed)
        if now >= expires_at then
          due[#due + 1] = id
        else
          call('HSET', base .. 's:' .. id, 's',
            struct.pack(STATE, created_at, idle, absolute_at, expires_at, seen_at, hits, revision, expires_at))
          call('ZADD', base .. 'x', expires_at, id)
        end
      end
    end
  end
  return due
end

local function level_used(key)
  local _, used = rolled(call('GET', base .. 'c:' .. key), 0)
  return used
end

-- A level counts expired sessions until they are reaped: when one is full, a few are removed first.
local function sweep_for_levels(at, evicted)
  local full = false
  for n = 0, tonumber(ARGV[at + 20]) - 1 do
    local place = at + 21 + n * 3
    full = full or level_used(ARGV[place + 1]) >= tonumber(ARGV[place + 2])
  end
  if full then
    want_memory()
    for _, id in ipairs(due_sessions(VICTIM_SCAN)) do
      evicted[#evicted + 1] = end_session(id, 'expired')
    end
  end
end

-- The sessions that must go, as {id, reason}; or nil and the name of the cap that is full.
local function room_for(at, leaving)
  local id, owner = ARGV[at], ARGV[at + 1]
  local not_before = not_before_of(owner)
  local room, gone = {}, {}
  local stale, reason = live_state(id, not_before)
  if stale then
    room[1] = {id, reason or 'expired'}
    gone[id] = true
  end
  if leaving then
    gone[leaving] = true
  end
  local cap = tonumber(ARGV[at + 18])
  if cap > 0 then
    local have = call('ZCARD', base .. 'i:' .. owner)
    for each in pairs(gone) do
      if call('ZSCORE', base .. 'i:' .. owner, each) then
        have = have - 1
      end
    end
    local wanted = math.min(have - cap + 1, VICTIMS_MAX)
    if wanted > 0 then
      local dead, living = {}, {}
      for _, each in ipairs(call('ZRANGE', base .. 'i:' .. owner, 0, VICTIM_SCAN - 1)) do
        if not gone[each] then
          local _, why = live_state(each, not_before)
          if why then
            dead[#dead + 1] = {each, why}
          elseif not is_open(each) then
            living[#living + 1] = {each, 'evicted'}
          end
        end
      end
      local chosen = 0
      for _, victim in ipairs(dead) do
        if chosen < wanted then
          chosen = chosen + 1
          room[#room + 1] = victim
        end
      end
      for _, victim in ipairs(living) do
        if chosen < wanted and ARGV[at + 19] == '1' then
          chosen = chosen + 1
          room[#room + 1] = victim
        end
      end
      if chosen < wanted then
        return nil, 'owner'
      end
    end
  end
  for n = 0, tonumber(ARGV[at + 20]) - 1 do
    local place = at + 21 + n * 3
    local used = level_used(ARGV[place + 1])
    for _, victim in ipairs(room) do
      local holds = text(call('HGET', base .. 's:' .. victim[1], 'v'))
      if string.find(holds, ARGV[place + 1], 1, true) then
        used = used - 1
      end
    end
    if used >= tonumber(ARGV[place + 2]) then
      return nil, ARGV[place]
    end
  end
  return room, ''
end

local function make(at, room, evicted, hits)
  if #room > 0 then
    want_memory()
  end
  for _, victim in ipairs(room) do
    evicted[#evicted + 1] = end_session(victim[1], victim[2])
  end
  local id, owner = ARGV[at], ARGV[at + 1]
  local key = base .. 's:' .. id
  local created_at, expires_at = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 6])
  local state = struct.pack(STATE, created_at, tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), expires_at,
    tonumber(ARGV[at + 7]), hits, tonumber(ARGV[at + 9]), expires_at)
  call('HSET', key, 's', state, 'o', owner .. ARGV[at + 2], 'b', ARGV[at + 10], 'm', ARGV[at + 11], 'd', ARGV[at + 12])
  call('DEL', base .. 'z:' .. id)
  for field, offset in pairs({f = 13, u = 14, l = 15, v = 16, N = 17}) do
    if ARGV[at + offset] ~= '' then
      call('HSET', key, field, ARGV[at + offset])
    end
  end
  for pool, upstream in pairs(unpacked(ARGV[at + 14]) or {}) do
    count_binding(pool, upstream, 1)
  end
  local hold = hold_of(ARGV[at + 16])
  if hold then
    call('SET', base .. 'h:' .. hold, id)
  else
    for n = 0, tonumber(ARGV[at + 20]) - 1 do
      add_level(ARGV[at + 21 + n * 3 + 1], 1)
    end
  end
  call('ZADD', base .. 'a', created_at, id)
  call('ZADD', base .. 'x', expires_at, id)
  call('ZADD', base .. 'i:' .. owner, created_at, id)
  if ARGV[at + 13] ~= '' then
    call('SADD', base .. 'k:' .. ARGV[at + 13], id)
  end
end
