-- Compare and set on the revision; counts as activity. ARGV: 3 id, 4 revision, 5 idle, 6 absolute_at,
-- 7 metadata given, 8 metadata, 9 data given, 10 data.
local key = base .. 's:' .. ARGV[3]
local state = call('HGET', key, 's')
if not state then
  return {'missing'}
end
local created_at, idle, absolute_at, expires_at, seen_at, hits, revision, indexed_at = struct.unpack(STATE, state)
if now >= expires_at then
  return {'missing'}
end
if revision ~= tonumber(ARGV[4]) then
  return {'conflict', revision}
end
idle, absolute_at = tonumber(ARGV[5]), tonumber(ARGV[6])
seen_at = math.max(now, seen_at)
expires_at = deadline(seen_at, idle, absolute_at)
if index_lags(expires_at, indexed_at, idle) then
  indexed_at = expires_at
  call('ZADD', base .. 'x', expires_at, ARGV[3])
end
local write = {'HSET', key, 's',
  struct.pack(STATE, created_at, idle, absolute_at, expires_at, seen_at, hits, revision + 1, indexed_at)}
if ARGV[7] == '1' then
  write[#write + 1] = 'm'
  write[#write + 1] = ARGV[8]
end
if ARGV[9] == '1' then
  write[#write + 1] = 'd'
  write[#write + 1] = ARGV[10]
end
call(unpack(write))
return {'updated', shown(ARGV[3], true)}
