-- End what has expired, then hand out again what nobody acknowledged. ARGV: 3 limit, 4 idle_for or '', 5 rank to
-- look for idle ones from. Answers the ends and the rank to go on from, or -1.
local limit, rank = tonumber(ARGV[3]), tonumber(ARGV[5])
local ended = {}
-- The first write takes no memory, so a full server is still swept.
call('ZREMRANGEBYSCORE', base .. 't', '-inf', ARGV[1])
if rank == 0 then
  for _, id in ipairs(due_sessions(limit)) do
    ended[#ended + 1] = end_session(id, 'expired')
  end
end
local following = -1
if ARGV[4] ~= '' and #ended < limit then
  local idle_for = tonumber(ARGV[4])
  local ids = call('ZRANGE', base .. 'a', rank, rank + 999)
  following = rank
  for _, id in ipairs(ids) do
    local packed = call('HGET', base .. 's:' .. id, 's')
    local gone = false
    if packed and #ended < limit then
      local _, _, _, _, seen_at = struct.unpack(STATE, packed)
      if now - seen_at >= idle_for and not is_open(id) then
        ended[#ended + 1] = end_session(id, 'expired')
        gone = true
      end
    end
    if not gone then
      following = following + 1
    end
  end
  if #ids < 1000 or #ended >= limit then
    following = -1
  end
end
if following == -1 then
  for _, receipt in ipairs(call('ZRANGEBYSCORE', base .. 'ec', '-inf', ARGV[1], 'LIMIT', 0, limit - #ended)) do
    local reply = ended_reply(receipt)
    if reply and now - tonumber(reply[3]) < ENDED_KEEP_MS then
      call('ZADD', base .. 'ec', now + CLAIM_MS, receipt)
      ended[#ended + 1] = reply
    else
      forget_end(receipt)
    end
  end
end
return {ended, following}
