"""What must happen at once in Redis: one Lua script for each change of a person.

Each touches the keys of one shard only, so that a cluster serves it; time is Redis's own. The layout of the keys is in
`store.py`, which runs these.
"""

from typing import Final

# KEYS: person, online. ARGV: fold, ttl, name, key, box_key, box_signature, seq, host, port,
# session, proof. A name with a key is renewed by that key and a higher seq; one without, by its
# session or from its address. The same session again is the same call again: its answer was lost on
# the way to us.
CLAIM: Final = """
local now = tonumber(redis.call('TIME')[1])
local name, key, seq, session, host =
  unpack(redis.call('HMGET', KEYS[1], 'name', 'key', 'seq', 'session', 'host'))
if name then
  if key ~= '' then
    if key ~= ARGV[4] then return {'taken', '0'} end
    if tonumber(ARGV[7]) <= tonumber(seq) and session ~= ARGV[10] then return {'old_seq', seq} end
  elseif session ~= ARGV[10] and session ~= ARGV[11] and host ~= ARGV[8] then
    return {'taken', '0'}
  end
  if name ~= ARGV[3] then return {'spelling', name} end
end
redis.call('HSET', KEYS[1], 'name', ARGV[3], 'key', ARGV[4], 'box_key', ARGV[5],
  'box_signature', ARGV[6], 'seq', ARGV[7], 'host', ARGV[8], 'port', ARGV[9],
  'session', ARGV[10], 'last_seen', now)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return {name and 'renewed' or 'new', '0'}
"""

# KEYS: person, online. ARGV: fold, ttl, session, attachment, host. Answers the name, or nothing for
# a wrong session.
ATTACH: Final = """
local now = tonumber(redis.call('TIME')[1])
local name, session = unpack(redis.call('HMGET', KEYS[1], 'name', 'session'))
if not name or session ~= ARGV[3] then return false end
redis.call('HSET', KEYS[1], 'attachment', ARGV[4], 'host', ARGV[5], 'last_seen', now)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return name
"""

# KEYS: person, online. ARGV: fold, ttl, attachment. Answers -1: not this one's any more; 1: was
# offline; 0: still online.
BEAT: Final = """
local now = tonumber(redis.call('TIME')[1])
if redis.call('HGET', KEYS[1], 'attachment') ~= ARGV[3] then return -1 end
redis.call('HSET', KEYS[1], 'last_seen', now)
return redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
"""

# KEYS: person, online. ARGV: fold, attachment. A newer attachment is left alone. Answers 1 where
# somebody went.
DETACH: Final = """
if redis.call('HGET', KEYS[1], 'attachment') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'attachment')
redis.call('HSET', KEYS[1], 'last_seen', redis.call('TIME')[1])
return redis.call('ZREM', KEYS[2], ARGV[1])
"""

# KEYS: online. Answers the folds of those whose time has passed, at most 500, and forgets that they
# were here.
SWEEP: Final = """
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', redis.call('TIME')[1], 'LIMIT', 0, 500)
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
return gone
"""
