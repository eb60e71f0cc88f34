-- End a link; an unnamed session ends with its last one. ARGV: 3 link.
local link = ARGV[3]
local id = call('HGET', base .. 'L:' .. link, 'k')
if not id then
  return {'missing'}
end
local f = call('HMGET', base .. 's:' .. id, 's', 'N')
if not f[1] then
  return {'missing'}
end
local _, _, _, expires_at = struct.unpack(STATE, f[1])
if now >= expires_at then
  return {'missing'}
end
local was = shown_link(link)
drop_link(id, link)
if not f[2] and call('ZCARD', base .. 'j:' .. id) == 0 then
  return {'unlinked', was, end_session(id, 'ended')}
end
return {'unlinked', was, {}}
