-- Insert if absent. ARGV: 3 operation, then the new session (making.lua).
local id, owner = ARGV[4], ARGV[5]
local kept = first_answer(owner, 'create:' .. ARGV[3])
if kept then
  kept[5] = 1
  return kept
end
local state = call('HGET', base .. 's:' .. id, 's')
if state then
  local _, _, _, expires_at = struct.unpack(STATE, state)
  if now < expires_at then
    local session = {}
    if string.sub(call('HGET', base .. 's:' .. id, 'o'), 1, 32) == owner then
      session = shown(id, false)
    end
    return {'exists', session, '', {}}
  end
end
local evicted = {}
sweep_for_levels(4, evicted)
local room, full = room_for(4, nil)
if not room then
  return {'full', {}, full, evicted}
end
make(4, room, evicted, tonumber(ARGV[12]))
local session = shown(id, true)
keep_answer(owner, 'create:' .. ARGV[3], {'created', session, '', {}})
return {'created', session, '', evicted}
