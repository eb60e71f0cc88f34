-- What a move must read first: the payload, the logs and how often they were added to. ARGV: 3 id.
local key = base .. 's:' .. ARGV[3]
local f = call('HMGET', key, 's', 'm', 'd', 'gc', 'ge', 'v', 'b', 'u', 'l', 'o')
if not f[1] then
  return {}
end
local _, _, _, expires_at = struct.unpack(STATE, f[1])
if now >= expires_at then
  return {}
end
local context = call('LRANGE', base .. 'g:' .. ARGV[3] .. ':context', 0, -1)
local events = call('LRANGE', base .. 'g:' .. ARGV[3] .. ':events', 0, -1)
local session = {f[1], f[7], text(f[8]), text(f[9]), text(f[2]), text(f[3]), ARGV[3], f[10]}
return {session, text(f[6]), f[4] or '0', f[5] or '0', context, events}
