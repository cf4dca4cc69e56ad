-- Writes one result, unless a later version of it is there. Returns 1, or 0 if it
-- is stale.
--
-- KEYS: latest, or latest, window, index.
-- ARGV: log, position, TTL in ms, '1' if the result is taken back,
--       start, end ('' without a window), then fields and values.
local log, position, ttl, gone, start = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4] == '1', ARGV[5]
local latest, window, index = KEYS[1], KEYS[2], KEYS[3]

local function put(key, fields)
  redis.call('DEL', key)
  redis.call('HSET', key, unpack(fields))
  redis.call('PEXPIRE', key, ttl)
end

local fields = { '@log', log, '@position', ARGV[2] }
if start ~= '' then
  fields[5], fields[6], fields[7], fields[8] = '@start', start, '@end', ARGV[6]
end
for i = 7, #ARGV do
  fields[#fields + 1] = ARGV[i]
end

local target = window or latest
local version = redis.call('HMGET', target, '@log', '@position')
if version[1] == log and tonumber(version[2]) > position then
  return 0
end
put(target, fields)
if not window then
  return 1
end

if gone then
  redis.call('ZREM', index, start)
else
  redis.call('ZADD', index, start, start)
end
-- Windows whose hashes have expired leave the index with what is written: a few of
-- the oldest each time, and all that would stand for the latest.
for _, old in ipairs(redis.call('ZRANGE', index, 0, 1)) do
  if redis.call('EXISTS', latest .. ':' .. old) == 0 then
    redis.call('ZREM', index, old)
  end
end
local top = redis.call('ZREVRANGE', index, 0, 0)[1]
while top and redis.call('EXISTS', latest .. ':' .. top) == 0 do
  redis.call('ZREM', index, top)
  top = redis.call('ZREVRANGE', index, 0, 0)[1]
end
if not top then
  redis.call('DEL', latest)
elseif top == start then
  put(latest, fields)
elseif redis.call('HGET', latest, '@start') ~= top then
  put(latest, redis.call('HGETALL', latest .. ':' .. top))
end
redis.call('PEXPIRE', index, ttl)
return 1
