"""The child process that speaks with the neighbourhood: routers that open ports, and agents in the same LAN.

Everything here runs outside of the agent (`agent.neighbourhood` starts it), on asyncio, without eventlet: what a
hostile LAN can do to it, it does not do to the agent. `lines` is what both know.
"""
