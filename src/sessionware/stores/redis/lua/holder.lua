-- What became of the session that holds a level: gone, ended here because it had expired, or when it will.
-- ARGV: 3 the hold.
local id = call('GET', base .. 'h:' .. ARGV[3])
local state = id and call('HGET', base .. 's:' .. id, 's')
if not state then
  return {'gone'}
end
local _, _, _, expires_at = struct.unpack(STATE, state)
if now < expires_at then
  return {'lives', expires_at}
end
return {'ended', end_session(id, 'expired')}
