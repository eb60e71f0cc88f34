-- The live session with its payload and links. ARGV: 3 id.
local state = call('HGET', base .. 's:' .. ARGV[3], 's')
if not state then
  return {}
end
local _, _, _, expires_at = struct.unpack(STATE, state)
if now >= expires_at then
  return {}
end
local links = {}
for _, link in ipairs(call('ZRANGE', base .. 'j:' .. ARGV[3], 0, -1)) do
  links[#links + 1] = shown_link(link)
end
return {shown(ARGV[3], true), links}
