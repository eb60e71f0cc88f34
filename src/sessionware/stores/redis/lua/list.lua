-- One page of live sessions, oldest first. ARGV: 3 owner or '', 4 created_at and 5 id of the cursor, 6 limit.
local index = base .. 'a'
if ARGV[3] ~= '' then
  index = base .. 'i:' .. ARGV[3]
end
local total, limit = call('ZCARD', index), tonumber(ARGV[6])
if limit <= 0 then
  local upstreams = {}
  if ARGV[3] == '' then
    upstreams = call('HGETALL', base .. 'u')
  end
  return {total, {}, upstreams, '', 0}
end
-- The first rank behind the cursor, by bisection: its session may be gone by now.
local score, member = tonumber(ARGV[4]), ARGV[5]
local low, high = 0, total
while low < high do
  local middle = math.floor((low + high) / 2)
  local at = call('ZRANGE', index, middle, middle, 'WITHSCORES')
  local created_at = tonumber(at[2])
  if created_at < score or (created_at == score and at[1] <= member) then
    low = middle + 1
  else
    high = middle
  end
end
local page, examined, last, last_created = {}, 0, '', 0
while #page <= limit and examined < limit * 4 + 64 do
  local ids = call('ZRANGE', index, low + examined, low + examined + limit - #page)
  if #ids == 0 then
    return {total, page, {}, '', 0}
  end
  for _, id in ipairs(ids) do
    examined = examined + 1
    local f = call('HMGET', base .. 's:' .. id, 's', 'b', 'u', 'l', 'o')
    if f[1] then
      local created_at, _, _, expires_at = struct.unpack(STATE, f[1])
      if #page < limit then
        last, last_created = id, created_at
      end
      if now < expires_at then
        page[#page + 1] = {f[1], f[2], text(f[3]), text(f[4]), '', '', id, f[5]}
      end
    end
  end
end
page[limit + 1] = nil -- it only told that there is more
return {total, page, {}, last, last_created}
