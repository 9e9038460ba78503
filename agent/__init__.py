"""The local agent: one person's side of TMGE."""
