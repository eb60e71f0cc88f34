-- End a live session; exactly one of many callers gets it. ARGV: 3 id, 4 reason.
local state = call('HGET', base .. 's:' .. ARGV[3], 's')
if not state then
  return {}
end
local _, _, _, expires_at = struct.unpack(STATE, state)
if now >= expires_at then
  return {}
end
return end_session(ARGV[3], ARGV[4])
