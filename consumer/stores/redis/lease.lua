#!lua
-- Wins, renews or releases the lease. The server's clock decides, so replicas need not agree on the time.
--
-- KEYS  1 lease (hash)
-- ARGV  1 'win' | 'renew' | 'leave'  2 token  3 lease in milliseconds  4 holder (win) or number (renew)
-- Returns {1} | {0, holder}

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local lease = redis.call('HMGET', KEYS[1], 'token', 'number', 'holder', 'expires')
local holder = lease[3] or ''

if ARGV[1] == 'win' then
  if holder ~= '' and tonumber(lease[4]) > now then return {0, holder} end
  redis.call('HSET', KEYS[1], 'token', ARGV[2], 'number', '0', 'holder', ARGV[4],
    'expires', string.format('%.0f', now + tonumber(ARGV[3])))
  return {1}
end
if lease[1] ~= ARGV[2] then return {0, holder} end
if ARGV[1] == 'renew' then
  if tonumber(lease[2]) ~= tonumber(ARGV[4]) then return {0, holder} end
  redis.call('HSET', KEYS[1], 'expires', string.format('%.0f', now + tonumber(ARGV[3])))
  return {1}
end
redis.call('HSET', KEYS[1], 'holder', '', 'expires', '0')
return {1}
