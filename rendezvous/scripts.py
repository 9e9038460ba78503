"""What must happen at once in Redis: one Lua script for each change of a person.

Each touches the keys of one shard only, so that a cluster serves it; time is Redis's own. The layout of the keys is in
`store.py`, which runs these.
"""

from typing import Final

# KEYS: person, online. ARGV: skeleton. Answers one string, which a client reads much faster than a list of fields: key,
# box_key, box_signature and proof, then the texts and whether online, each after a zero byte. Nothing for nobody. The
# fields that not everybody has come last.
READ: Final = """
local p = redis.call('HMGET', KEYS[1], 'key', 'box_key', 'box_signature', 'proof', 'name', 'seq', 'host', 'port',
  'visibility', 'claimed', 'time', 'last_seen', 'attachment', 'direct', 'relay', 'reach')
local online = redis.call('ZSCORE', KEYS[2], ARGV[1]) and '1' or ''
if not p[4] then return false end
for i = 13, 16 do p[i] = p[i] or '' end
return p[1] .. p[2] .. p[3] .. p[4] .. '\\0' .. table.concat(p, '\\0', 5) .. '\\0' .. online
"""

# KEYS: person, online, gone. ARGV: skeleton, ttl, unused, looker, then the fields: name, key, box_key, box_signature,
# seq, host, port, session, visibility, claimed, time, proof, direct. The same session again is the same call again: its
# answer was lost on the way to us. `again`: `claimed` or `time` do not fit what stands here now, so the proof would not
# hold. What was said of the network ends with the address.
# What version 0 kept has neither, or not even a key: whoever has the key renews it, and a name without one is free.
CLAIM: Final = """
local now = tonumber(redis.call('TIME')[1])
local name, key, seq, session, claimed, time =
  unpack(redis.call('HMGET', KEYS[1], 'name', 'key', 'seq', 'session', 'claimed', 'time'))
if key == '' then name = false end
if name then
  if key ~= ARGV[6] then return {'taken', '0'} end
  if tonumber(ARGV[9]) <= tonumber(seq) and session ~= ARGV[12] then return {'old_seq', seq} end
  if name ~= ARGV[5] then return {'spelling', name} end
  if claimed and (claimed ~= ARGV[14] or tonumber(ARGV[15]) < tonumber(time)) then return {'again', '0'} end
else
  local last, before = unpack(redis.call('HMGET', KEYS[3], ARGV[4], 'time'))
  if last and tonumber(ARGV[9]) <= tonumber(last) then return {'old_seq', last} end
  if before and tonumber(ARGV[14]) <= tonumber(before) then return {'again', '0'} end
end
if redis.call('HGET', KEYS[1], 'host') ~= ARGV[10] then redis.call('HDEL', KEYS[1], 'reach') end
redis.call('HSET', KEYS[1], 'name', ARGV[5], 'key', ARGV[6], 'box_key', ARGV[7],
  'box_signature', ARGV[8], 'seq', ARGV[9], 'host', ARGV[10], 'port', ARGV[11],
  'session', ARGV[12], 'visibility', ARGV[13], 'claimed', ARGV[14], 'time', ARGV[15],
  'proof', ARGV[16], 'direct', ARGV[17], 'last_seen', now)
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return {name and 'renewed' or 'new', '0'}
"""

# KEYS: person, online, gone, allowed. ARGV: skeleton, key, seq, looker, time, seconds that the seq is kept. Answers the
# fields of a released person; or why not.
FORGET: Final = """
local name, key, seq, claimed, time, box_key =
  unpack(redis.call('HMGET', KEYS[1], 'name', 'key', 'seq', 'claimed', 'time', 'box_key'))
if not name or key ~= ARGV[2] then return {'nobody'} end
if tonumber(ARGV[3]) <= tonumber(seq) then return {'old_seq', seq} end
claimed, time = claimed or ARGV[5], time or ARGV[5]
if tonumber(time) < tonumber(ARGV[5]) then time = ARGV[5] end
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[4], ARGV[3], 'time', time)
redis.call('EXPIRE', KEYS[3], ARGV[6])
return {'released', name, claimed, time, box_key}
"""

# KEYS: person, online. ARGV: skeleton, ttl, unused, session, attachment, host, relay. Answers name and key, or nothing
# for a wrong session. What was said of the network ends with the address.
ATTACH: Final = """
local now = tonumber(redis.call('TIME')[1])
local name, session, key = unpack(redis.call('HMGET', KEYS[1], 'name', 'session', 'key'))
if not name or session ~= ARGV[4] then return false end
if redis.call('HGET', KEYS[1], 'host') ~= ARGV[6] then redis.call('HDEL', KEYS[1], 'reach') end
redis.call('HSET', KEYS[1], 'attachment', ARGV[5], 'host', ARGV[6], 'relay', ARGV[7], 'last_seen', now)
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return {name, key}
"""

# KEYS: person, online. ARGV: skeleton, ttl, unused, attachment, reach (empty: as before). Answers -1: not this one's
# any more; 1: was offline, or has another reach; 0: nothing new.
BEAT: Final = """
local now = tonumber(redis.call('TIME')[1])
if redis.call('HGET', KEYS[1], 'attachment') ~= ARGV[4] then return -1 end
redis.call('HSET', KEYS[1], 'last_seen', now)
redis.call('EXPIRE', KEYS[1], ARGV[3])
local came = redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
if ARGV[5] ~= '' and redis.call('HGET', KEYS[1], 'reach') ~= ARGV[5] then
  redis.call('HSET', KEYS[1], 'reach', ARGV[5])
  return 1
end
return came
"""

# KEYS: person, online. ARGV: skeleton, attachment. A newer attachment is left alone. Answers 1 where somebody went.
DETACH: Final = """
if redis.call('HGET', KEYS[1], 'attachment') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'attachment')
redis.call('HSET', KEYS[1], 'last_seen', redis.call('TIME')[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
"""

# KEYS: person, allowed. ARGV: attachment, unused, then those who may look. Answers 0: not this one's any more.
ALLOW: Final = """
if redis.call('HGET', KEYS[1], 'attachment') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
if #ARGV > 2 then
  redis.call('SADD', KEYS[2], unpack(ARGV, 3))
  redis.call('EXPIRE', KEYS[2], ARGV[2])
end
return 1
"""

# KEYS: online. Answers the skeletons of those whose time has passed, at most 500, and forgets that they were here.
SWEEP: Final = """
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1], 'LIMIT', 0, 500)
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
return gone
"""
