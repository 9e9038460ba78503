"""The page on localhost: who may speak to it, its HTTP routes and its Socket.IO events."""
