-- Move the binding in a pool if it still is what the caller saw. ARGV: 3 id, 4 pool, 5 was, 6 to ('' for none).
local key = base .. 's:' .. ARGV[3]
local f = call('HMGET', key, 's', 'u')
if not f[1] then
  return {'missing'}
end
local _, _, _, expires_at = struct.unpack(STATE, f[1])
if now >= expires_at then
  return {'missing'}
end
local bindings = unpacked(f[2]) or {}
local standing = bindings[ARGV[4]] or ''
if standing ~= ARGV[5] then
  return {'bound', standing}
end
if standing ~= '' then
  count_binding(ARGV[4], standing, -1)
end
bindings[ARGV[4]] = nil
if ARGV[6] ~= '' then
  bindings[ARGV[4]] = ARGV[6]
  count_binding(ARGV[4], ARGV[6], 1)
end
if next(bindings) then
  call('HSET', key, 'u', cmsgpack.pack(bindings))
else
  call('HDEL', key, 'u')
end
return {'bound', ARGV[6]}
