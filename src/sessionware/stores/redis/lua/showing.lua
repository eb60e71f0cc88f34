-- The record as the client reads it: state, birth, bindings, limits, metadata, data, id, owner and proof.
local function shown(id, with_payload)
  local key = base .. 's:' .. id
  local f
  if with_payload then
    f = call('HMGET', key, 's', 'b', 'u', 'l', 'o', 'm', 'd')
  else
    f = call('HMGET', key, 's', 'b', 'u', 'l', 'o')
  end
  return {text(f[1]), text(f[2]), text(f[3]), text(f[4]), text(f[6]), text(f[7]), id, text(f[5])}
end

-- A link as the client reads it: blob, seen_at, handshake, session id, link id.
local function shown_link(link)
  local f = call('HMGET', base .. 'L:' .. link, 'b', 'n', 'h', 'k')
  return {text(f[1]), text(f[2]), text(f[3]), text(f[4]), link}
end

local function publish(message)
  call('PUBLISH', string.match(base, '^(.*){') .. 'events', message)
end
