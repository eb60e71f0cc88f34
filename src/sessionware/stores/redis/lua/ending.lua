-- The one way in which a session ends: out of every index, its levels released, its record kept as `e:receipt`
-- until somebody acknowledges that the observers were told.
local function add_level(key, change)
  local counter = base .. 'c:' .. key
  local _, used = rolled(call('GET', counter), 0)
  if used + change > 0 then
    call('SET', counter, struct.pack('>LLL', 0, used + change, 0))
  else
    call('DEL', counter)
  end
end

-- The length keeps apart pools and upstreams whatever characters they are made of (telling.py reads it).
local function count_binding(pool, upstream, change)
  local place = string.format('%d:', #pool) .. pool .. upstream
  if call('HINCRBY', base .. 'u', place, change) <= 0 then
    call('HDEL', base .. 'u', place)
  end
end

local function drop_link(id, link)
  call('DEL', base .. 'L:' .. link)
  call('ZREM', base .. 'j:' .. id, link)
end

local function links_of(id)
  local links = {}
  for _, link in ipairs(call('ZRANGE', base .. 'j:' .. id, 0, -1)) do
    links[#links + 1] = shown_link(link)
  end
  return links
end

local function ended_reply(receipt)
  local f = call('HMGET', base .. 'e:' .. receipt, 'er', 'ea', 'ei', 'ej', 's', 'b', 'u', 'l', 'm', 'd', 'o')
  if not f[1] then
    return nil
  end
  local session = {f[5], f[6], text(f[7]), text(f[8]), text(f[9]), text(f[10]), f[3], f[11]}
  return {receipt, f[1], f[2], session, cmsgpack.unpack(f[4])}
end

local function forget_end(receipt)
  call('DEL', base .. 'e:' .. receipt)
  return call('ZREM', base .. 'ec', receipt)
end

local function unindex(id, owner, started_by)
  call('ZREM', base .. 'a', id)
  call('ZREM', base .. 'x', id)
  call('ZREM', base .. 'i:' .. owner, id)
  if started_by and started_by ~= '' then
    call('SREM', base .. 'k:' .. started_by, id)
  end
end

local function set_tombstone(id, reason, owner_and_proof, idle)
  local keep = TOMBSTONE_MAX_MS
  if idle > 0 and idle < keep then
    keep = idle
  end
  local stone = struct.pack('>L', now + keep) .. owner_and_proof .. reason
  call('SET', base .. 'z:' .. id, stone, 'PX', keep + 60000)
end

-- On Redis Cluster levels lie in other slots: the record names its hold (`@hold,level,...`) instead of counting here,
-- and whoever is handed the end gives the levels back.
local function hold_of(levels)
  return levels and string.match(levels, '^@(%x+)')
end

local function end_session(id, reason)
  local key = base .. 's:' .. id
  local f = call('HMGET', key, 's', 'o', 'f', 'v', 'u')
  local _, idle = struct.unpack(STATE, f[1])
  unindex(id, string.sub(f[2], 1, 32), f[3])
  local hold = hold_of(f[4])
  if not hold then
    for level in string.gmatch(text(f[4]), '%x+') do
      add_level(level, -1)
    end
  end
  for pool, upstream in pairs(unpacked(f[5]) or {}) do
    count_binding(pool, upstream, -1)
  end
  local links = links_of(id)
  for _, link in ipairs(links) do
    call('DEL', base .. 'L:' .. link[5])
  end
  call('DEL', base .. 'j:' .. id, base .. 'n:' .. id, base .. 'g:' .. id .. ':context', base .. 'g:' .. id .. ':events')
  set_tombstone(id, reason, f[2], idle)
  local serial = call('INCR', base .. 'es')
  local receipt = string.format('%.0f', serial)
  if hold then
    call('DEL', base .. 'h:' .. hold)
    receipt = receipt .. '-' .. hold
  end
  call('RENAME', key, base .. 'e:' .. receipt)
  call('HSET', base .. 'e:' .. receipt, 'er', reason, 'ea', ARGV[1], 'ei', id, 'ej', cmsgpack.pack(links))
  call('PEXPIRE', base .. 'e:' .. receipt, ENDED_KEEP_MS)
  call('ZADD', base .. 'ec', now + CLAIM_MS, receipt)
  if call('ZCARD', base .. 'ec') > ENDED_MAX then
    forget_end(call('ZRANGE', base .. 'ec', 0, 0)[1])
  end
  publish('G' .. id .. string.sub(base, -3, -2) .. reason)
  return ended_reply(receipt)
end
