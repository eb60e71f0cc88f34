-- Add to a bounded log. ARGV: 3 id, 4 log, 5 count field, 6 keep, 7 item.
local key = base .. 's:' .. ARGV[3]
local state = call('HGET', key, 's')
if not state then
  return {'missing'}
end
local _, _, _, expires_at = struct.unpack(STATE, state)
if now >= expires_at then
  return {'missing'}
end
local log, keep = base .. 'g:' .. ARGV[3] .. ':' .. ARGV[4], tonumber(ARGV[6])
local count = call('HINCRBY', key, ARGV[5], 1) -- first, so that a full server refuses (making.lua)
if keep > 0 then
  call('RPUSH', log, ARGV[7])
  call('LTRIM', log, -keep, -1)
else
  call('DEL', log)
end
return {'added', count}
