"""The rendezvous: knows who is here and helps agents meet."""
