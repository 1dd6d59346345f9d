#!lua
-- Compare-and-sets a handler's cursor with its dead letters and blocked runs, under the tenure's token.
--
-- KEYS  1 lease (hash)  2 cursors (hash)  3 handler dead letters (hash)  4 their order (sorted set)  5 journal (stream)
--       6 blocked runs of this handler (hash)
-- ARGV  1 token  2 handler  3 revision  4 data  5 highest acknowledged offset
--       6 count of dead letters  then threes  id, milliseconds, json
--       . count of blocked runs  then pairs   run ('' for none), json ('' removes it)
-- Returns {1} | {0, holder}

local lease = redis.call('HMGET', KEYS[1], 'token', 'holder')
if lease[1] ~= ARGV[1] then return {0, lease[2] or ''} end
local stored = redis.call('HMGET', KEYS[2], 'revision:' .. ARGV[2], 'data:' .. ARGV[2])
local revision = tonumber(stored[1] or '0')
local next_revision = tonumber(ARGV[3])
if revision == next_revision and stored[2] == ARGV[4] then return {1} end
if revision ~= next_revision - 1 then return {0, lease[2] or ''} end
-- A store that went back in time may have kept the last cursor and lost entries delivered since: other events will get their offsets.
local last = 0
if redis.call('EXISTS', KEYS[5]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[5])
  for index = 1, #info, 2 do
    if info[index] == 'last-generated-id' then last = tonumber(string.match(info[index + 1], '^%d+')) end
  end
end
if tonumber(ARGV[5]) > last then return {0, lease[2] or ''} end
for index, kind in ipairs({'hash', 'hash', 'hash', 'zset', 'stream', 'hash'}) do
  local found = redis.call('TYPE', KEYS[index])['ok']
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

local at = 7
for _ = 1, tonumber(ARGV[6]) do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 2])
  redis.call('ZADD', KEYS[4], ARGV[at + 1], ARGV[at])
  at = at + 3
end
for _ = 1, tonumber(ARGV[at]) do
  if ARGV[at + 2] == '' then
    redis.call('HDEL', KEYS[6], ARGV[at + 1])
  else
    redis.call('HSET', KEYS[6], ARGV[at + 1], ARGV[at + 2])
  end
  at = at + 2
end
redis.call('HSET', KEYS[2], 'revision:' .. ARGV[2], ARGV[3], 'data:' .. ARGV[2], ARGV[4])
return {1}
