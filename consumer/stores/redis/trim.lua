#!lua
-- Removes the journal's oldest entries, also from the lists of each run's offsets.
--
-- KEYS  1 lease (hash)  2 journal (stream)
-- ARGV  1 token  2 last offset to remove  3 prefix of the per-run lists of offsets  4 count of runs  then their ids
-- Returns {1} | {0, holder}

local lease = redis.call('HMGET', KEYS[1], 'token', 'holder')
if lease[1] ~= ARGV[1] then return {0, lease[2] or ''} end
local through = tonumber(ARGV[2])
for index = 5, 4 + tonumber(ARGV[4]) do
  local key = ARGV[3] .. ARGV[index]
  while true do
    local first = redis.call('LINDEX', key, 0)
    if not first or tonumber(first) > through then break end
    redis.call('LPOP', key)
  end
end
redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-0', through + 1))
return {1}
