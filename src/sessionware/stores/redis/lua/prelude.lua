-- The head of every script: time, addresses, and the laws of a counter (core/ledger.py, with the same names).
-- KEYS[1] is the bucket, `prefix{bb}`; every other key begins with it, so all share one slot.
-- ARGV[1] now, ARGV[2] the skew that is tolerated (0: the clock is a test's own). Arguments are decimal strings,
-- replies integers and bulk strings. A number never meets `..`: Lua would round it.
local call = redis.call
local base = KEYS[1]
local now = tonumber(ARGV[1])
local max_skew = tonumber(ARGV[2])
if max_skew > 0 then
  local time = call('TIME')
  local store_now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  if now - store_now > max_skew or store_now - now > max_skew then
    return {'SKEW', store_now}
  end
end

local FULL_CARRY = 1000000
local CAP = 9000000000
local NEVER = 9007199254740991
local TOMBSTONE_MAX_MS = 3600000
local CLAIM_MS = 30000
local ENDED_KEEP_MS = 3600000
local ENDED_MAX = 10000
local OPERATION_KEEP_MS = 300000
local OPERATIONS_MAX = 1024
local VICTIMS_MAX = 8
local VICTIM_SCAN = 64
local INDEX_LAG_DIVISOR = 8
local STATE = '>LLLLLLLL' -- created_at, idle, absolute_at, expires_at, seen_at, hits, revision, indexed_at

local function rolled(packed, window)
  if not packed or packed == '' then
    return window, 0, 0
  end
  local stored, used, before = struct.unpack('>LLL', packed)
  if stored == window or stored == window + 1 then
    return stored, used, before
  elseif stored < window - 1 then
    return window, 0, 0
  end
  return window, 0, used
end

local function level(stored, used, before, window, carry)
  if stored ~= window then
    carry = FULL_CARRY
  end
  local product = before * carry
  return used + (product - product % FULL_CARRY) / FULL_CARRY
end

local function clamped(amount)
  if amount < 0 then
    return 0
  elseif amount > CAP then
    return CAP
  end
  return amount
end

local function deadline(seen_at, idle, absolute_at)
  local expires_at = NEVER
  if idle > 0 then
    expires_at = seen_at + idle
  end
  if absolute_at > 0 and absolute_at < expires_at then
    expires_at = absolute_at
  end
  return expires_at
end

local function index_lags(expires_at, indexed_at, idle)
  local ahead = expires_at - indexed_at
  return ahead < 0 or ahead > math.floor(idle / INDEX_LAG_DIVISOR)
end

local function allowance_of(limit, allowance, session_limits, user_limits)
  local override = session_limits and session_limits[limit]
  if override and now < override[2] then
    return override[1]
  end
  override = user_limits and user_limits[limit]
  if override and now < override[2] then
    return override[1]
  end
  return allowance
end

local function unpacked(packed)
  if packed and packed ~= '' then
    return cmsgpack.unpack(packed)
  end
  return nil
end

-- A bulk string for everything: a reply never holds nil or false.
local function text(value)
  return value or ''
end
