#!lua
-- Applies one commit, all or nothing: a script that fails half-way does not roll back, so everything is checked before the first write.
--
-- KEYS  1 lease (hash)  2 meta (hash)  3 states (hash)  4 journal (stream)  5 channels (hash)
--       6 ingest dead letters (hash)  7 their order (sorted set)  8 history of positions (list)  9 timers (sorted set)  10 reconcile tasks (hash)
-- ARGV  1 token  2 number  3 org  4 prefix of the per-run lists of offsets
--       5 count of states      then pairs   record id, state ('' removes it)
--       . count of events      then fours   id, type, run ('' for none), json
--       . count of channels    then pairs   channel, state
--       . count of dead letters  then threes  id, milliseconds, json
--       . epochs as json ('' for unchanged)  . milliseconds for the history of positions ('' for none)  . length of the history
--       . count of timers       then pairs   key, due milliseconds ('' removes it)
--       . count of tasks        then pairs   id, json ('' removes it)
-- Returns {'applied'} | {'again'} | {'refused', holder} | {'foreign', org}

local lease = redis.call('HMGET', KEYS[1], 'token', 'number', 'holder')
local next_number = tonumber(ARGV[2])
local number = tonumber(lease[2])
if lease[1] ~= ARGV[1] or number == nil then return {'refused', lease[3] or ''} end
if number == next_number then return {'again'} end
if number ~= next_number - 1 then return {'refused', lease[3] or ''} end

local org = redis.call('HGET', KEYS[2], 'org')
if org and org ~= ARGV[3] then return {'foreign', org} end

local kinds = {'hash', 'hash', 'hash', 'stream', 'hash', 'hash', 'zset', 'list', 'zset', 'hash'}
for index, kind in ipairs(kinds) do
  local found = redis.call('TYPE', KEYS[index])['ok']
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. KEYS[index] .. ' is a ' .. found .. ', not a ' .. kind)
  end
end

-- The stream keeps its last id even when it is trimmed to nothing, so offsets never repeat.
local last = 0
if redis.call('EXISTS', KEYS[4]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[4])
  for index = 1, #info, 2 do
    if info[index] == 'last-generated-id' then last = tonumber(string.match(info[index + 1], '^%d+')) end
  end
end

-- ------------------------------------------------------------ from here on only writes, none of which can fail

local at = 5
local function count()
  local n = tonumber(ARGV[at])
  at = at + 1
  return n
end

for _ = 1, count() do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[3], ARGV[at])
  else
    redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
for _ = 1, count() do
  last = last + 1
  local run = ARGV[at + 2]
  redis.call('XADD', KEYS[4], string.format('%.0f-0', last), 'i', ARGV[at], 't', ARGV[at + 1], 'r', run, 'd', ARGV[at + 3])
  if run ~= '' then redis.call('RPUSH', ARGV[4] .. run, string.format('%.0f', last)) end
  at = at + 4
end
local moved = {}
for _ = 1, count() do
  redis.call('HSET', KEYS[5], ARGV[at], ARGV[at + 1])
  moved[#moved + 1] = at
  at = at + 2
end
for _ = 1, count() do
  if redis.call('HSETNX', KEYS[6], ARGV[at], ARGV[at + 2]) == 1 then
    redis.call('ZADD', KEYS[7], ARGV[at + 1], ARGV[at])
  end
  at = at + 3
end
if ARGV[at] ~= '' then redis.call('HSET', KEYS[2], 'epochs', ARGV[at]) end
if ARGV[at + 1] ~= '' then
  for _, index in ipairs(moved) do
    local position = cjson.decode(ARGV[index + 1])['position']
    if type(position) == 'string' then
      redis.call('RPUSH', KEYS[8], cjson.encode({channel = ARGV[index], position = position,
        at_ms = tonumber(ARGV[at + 1]), offset = last}))
    end
  end
  redis.call('LTRIM', KEYS[8], -tonumber(ARGV[at + 2]), -1)
end
at = at + 3
for _ = 1, count() do
  if ARGV[at + 1] == '' then
    redis.call('ZREM', KEYS[9], ARGV[at])
  else
    redis.call('ZADD', KEYS[9], ARGV[at + 1], ARGV[at])
  end
  at = at + 2
end
for _ = 1, count() do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[10], ARGV[at])
  else
    redis.call('HSET', KEYS[10], ARGV[at], ARGV[at + 1])
  end
  at = at + 2
end
redis.call('HSET', KEYS[2], 'org', ARGV[3])
redis.call('HSET', KEYS[1], 'number', ARGV[2])
return {'applied'}
