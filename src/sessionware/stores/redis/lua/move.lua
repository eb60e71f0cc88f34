-- Give a session a new birth in the same bucket. ARGV: 3 old id, 4 revision, 5 context count, 6 events count,
-- 7 links end, 8 log items of context, 9 of events, 10.. the new session (making.lua), then the items.
local old, id = ARGV[3], ARGV[10]
local key = base .. 's:' .. old
local f = call('HMGET', key, 's', 'gc', 'ge', 'o', 'f', 'u', 'v')
if not f[1] then
  return {'missing'}
end
local _, idle, _, expires_at, _, hits, revision = struct.unpack(STATE, f[1])
if now >= expires_at then
  return {'missing'}
end
if revision ~= tonumber(ARGV[4]) then
  return {'conflict', revision}
end
if (f[2] or '0') ~= ARGV[5] or (f[3] or '0') ~= ARGV[6] then
  return {'again'}
end
local standing, why = live_state(id, -1)
if standing and not why then
  return {'exists'}
end
local room = room_for(10, old)
if not room then
  return {'full'}
end
local kept = {}
for _, pair in ipairs({{'gc', f[2]}, {'ge', f[3]}}) do
  if pair[2] then
    kept[#kept + 1] = pair[1]
    kept[#kept + 1] = pair[2]
  end
end
local fields = call('HGETALL', key)
for n = 1, #fields, 2 do
  if string.sub(fields[n], 1, 1) == 'c' then
    kept[#kept + 1] = fields[n]
    kept[#kept + 1] = fields[n + 1]
  end
end
want_memory()
local unlinked, links = {}, call('ZRANGE', base .. 'j:' .. old, 0, -1)
if ARGV[7] == '1' then
  unlinked = links_of(old)
  for _, link in ipairs(links) do
    drop_link(old, link)
  end
end
unindex(old, string.sub(f[4], 1, 32), f[5])
for pool, upstream in pairs(unpacked(f[6]) or {}) do
  count_binding(pool, upstream, -1)
end
call('DEL', key, base .. 'g:' .. old .. ':context', base .. 'g:' .. old .. ':events')
set_tombstone(old, 'rotated', f[4], idle)
local evicted = {}
make(10, room, evicted, hits)
local hold = hold_of(f[7])
if hold then
  call('SET', base .. 'h:' .. hold, id)
  kept[#kept + 1] = 'v'
  kept[#kept + 1] = f[7]
end
if #kept > 0 then
  call('HSET', base .. 's:' .. id, unpack(kept))
end
if call('EXISTS', base .. 'n:' .. old) == 1 then
  call('RENAME', base .. 'n:' .. old, base .. 'n:' .. id)
end
if ARGV[7] ~= '1' and #links > 0 then
  call('RENAME', base .. 'j:' .. old, base .. 'j:' .. id)
  for _, link in ipairs(links) do
    call('HSET', base .. 'L:' .. link, 'k', id)
  end
end
local item = #ARGV - tonumber(ARGV[8]) - tonumber(ARGV[9])
for _, log in ipairs({{':context', tonumber(ARGV[8])}, {':events', tonumber(ARGV[9])}}) do
  for _ = 1, log[2] do
    item = item + 1
    call('RPUSH', base .. 'g:' .. id .. log[1], ARGV[item])
  end
end
publish('G' .. old .. string.sub(base, -3, -2) .. 'rotated')
return {'moved', shown(id, true), unlinked, evicted}
