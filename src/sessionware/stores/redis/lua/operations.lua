-- First answers by owner and operation id: kept 300 s, bounded per owner.
local function first_answer(owner, operation)
  local until_at = call('ZSCORE', base .. 'q:' .. owner, operation)
  if until_at and now < tonumber(until_at) then
    local kept = call('HGET', base .. 'p:' .. owner, operation)
    return kept and cmsgpack.unpack(kept)
  end
  return nil
end

local function keep_answer(owner, operation, answer)
  local answers, order = base .. 'p:' .. owner, base .. 'q:' .. owner
  local stale = call('ZRANGEBYSCORE', order, '-inf', ARGV[1], 'LIMIT', 0, 16)
  call('HSET', answers, operation, cmsgpack.pack(answer))
  call('ZADD', order, now + OPERATION_KEEP_MS, operation)
  local excess = call('ZCARD', order) - #stale - OPERATIONS_MAX
  if excess > 0 then
    for _, each in ipairs(call('ZRANGE', order, #stale, #stale + excess - 1)) do
      stale[#stale + 1] = each
    end
  end
  for _, each in ipairs(stale) do
    if each ~= operation then
      call('HDEL', answers, each)
      call('ZREM', order, each)
    end
  end
  call('PEXPIRE', answers, OPERATION_KEEP_MS * 2)
  call('PEXPIRE', order, OPERATION_KEEP_MS * 2)
end
