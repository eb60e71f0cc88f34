-- Refuse a token, or all of an owner before an instant, and end the sessions that it reaches, SLICE per call.
-- ARGV: 3 kind, then for 'token': 4 token, 5 until; for 'owner': 4 owner, 5 before.
-- Answers what it ended, and 1 when there may be more: the refusal stands from the first call on.
local SLICE = 500
local order = {}

local function doom(ids)
  for _, id in ipairs(ids) do
    local packed = call('HGET', base .. 's:' .. id, 's')
    if packed then
      local created_at, _, _, expires_at = struct.unpack(STATE, packed)
      if now < expires_at then
        order[#order + 1] = {created_at, id}
      end
    end
  end
end

-- The first write takes no memory: a full server still revokes.
call('ZREMRANGEBYSCORE', base .. 't', '-inf', ARGV[1])
if ARGV[3] == 'token' then
  local standing = call('ZSCORE', base .. 't', ARGV[4])
  if not standing or tonumber(standing) < tonumber(ARGV[5]) then
    call('ZADD', base .. 't', ARGV[5], ARGV[4])
  end
  doom(call('SMEMBERS', base .. 'k:' .. ARGV[4]))
  table.sort(order, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
else
  local row = base .. 'o:' .. ARGV[4]
  local before = math.max(tonumber(call('HGET', row, 'nb') or '-1'), tonumber(ARGV[5]))
  call('HSET', row, 'nb', before)
  -- The index is in the order of creation already.
  local rank = 0
  repeat
    local ids = call('ZRANGEBYSCORE', base .. 'i:' .. ARGV[4], '-inf', before, 'LIMIT', rank, SLICE)
    doom(ids)
    rank = rank + #ids
  until #ids < SLICE or #order >= SLICE
end
local ended = {}
for n = 1, math.min(#order, SLICE) do
  ended[n] = end_session(order[n][2], 'revoked')
end
return {ended, #order >= SLICE and 1 or 0}
