"""The peer protocol, sans-IO: no socket, clock, file, thread or randomness of its own.

Time and random bytes come in as arguments; datagrams and events come out. See `endpoint.Endpoint`.
"""
