#!lua
-- Sets the state of channels and ends the current tenure: its next commit or renewal carries an old token.
--
-- KEYS  1 lease (hash)  2 channels (hash)
-- ARGV  1 fresh token  then pairs  channel, state

redis.call('HSET', KEYS[1], 'token', ARGV[1], 'number', '0', 'holder', '', 'expires', '0')
for index = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[index], ARGV[index + 1])
end
return 1
