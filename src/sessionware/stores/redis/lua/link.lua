-- Put one legacy MCP session into its session. ARGV: 3 operation, 4 owner, 5 id, 6 link, 7 blob, 8 seen_at,
-- 9 handshake, 10 at most.
local kept = first_answer(ARGV[4], 'link:' .. ARGV[3])
if kept then
  return kept
end
local id, link = ARGV[5], ARGV[6]
local state = call('HGET', base .. 's:' .. id, 's')
if not state then
  return {'missing'}
end
local _, _, _, expires_at = struct.unpack(STATE, state)
if now >= expires_at then
  return {'missing'}
end
local before = call('HGET', base .. 'L:' .. link, 'k')
call('HSET', base .. 'L:' .. link, 'b', ARGV[7], 'n', ARGV[8], 'h', ARGV[9], 'k', id)
if before and before ~= id then
  call('ZREM', base .. 'j:' .. before, link)
end
call('ZADD', base .. 'j:' .. id, ARGV[8], link)
local unlinked = {}
local excess = call('ZCARD', base .. 'j:' .. id) - tonumber(ARGV[10])
if before ~= id and excess > 0 then
  for _, each in ipairs(call('ZRANGE', base .. 'j:' .. id, 0, excess)) do
    if each ~= link and #unlinked < excess then
      unlinked[#unlinked + 1] = shown_link(each)
      drop_link(id, each)
    end
  end
end
keep_answer(ARGV[4], 'link:' .. ARGV[3], {'linked', shown_link(link), {}})
return {'linked', shown_link(link), unlinked}
