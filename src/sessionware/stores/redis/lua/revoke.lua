-- Refuse a token, or all of an owner before an instant, and end the sessions that it reaches.
-- ARGV: 3 kind, then for 'token': 4 token, 5 until; for 'owner': 4 owner, 5 before.
local doomed = {}
if ARGV[3] == 'token' then
  local standing = call('ZSCORE', base .. 't', ARGV[4])
  if not standing or tonumber(standing) < tonumber(ARGV[5]) then
    call('ZADD', base .. 't', ARGV[5], ARGV[4])
  end
  doomed = call('SMEMBERS', base .. 'k:' .. ARGV[4])
else
  local row = base .. 'o:' .. ARGV[4]
  local before = math.max(tonumber(call('HGET', row, 'nb') or '-1'), tonumber(ARGV[5]))
  call('HSET', row, 'nb', before)
  doomed = call('ZRANGEBYSCORE', base .. 'i:' .. ARGV[4], '-inf', before)
end
local order = {}
for _, id in ipairs(doomed) do
  local packed = call('HGET', base .. 's:' .. id, 's')
  if packed then
    local created_at, _, _, expires_at = struct.unpack(STATE, packed)
    if now < expires_at then
      order[#order + 1] = {created_at, id}
    end
  end
end
table.sort(order, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local ended = {}
for _, each in ipairs(order) do
  ended[#ended + 1] = end_session(each[2], 'revoked')
end
return ended
