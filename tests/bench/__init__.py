"""Benchmarks that anyone can run: `./run bench NAME`. Ratios within one run, never timed assertions."""
