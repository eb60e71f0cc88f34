-- The newest items of a log, oldest first. ARGV: 3 id, 4 log, 5 count.
local f = call('HMGET', base .. 's:' .. ARGV[3], 's', 'o')
if not f[1] then
  return {'missing'}
end
local _, _, _, expires_at = struct.unpack(STATE, f[1])
if now >= expires_at then
  return {'missing'}
end
local items = {}
if tonumber(ARGV[5]) > 0 then
  items = call('LRANGE', base .. 'g:' .. ARGV[3] .. ':' .. ARGV[4], -tonumber(ARGV[5]), -1)
end
return {f[2], items}
