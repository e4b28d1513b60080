"""tfscale beside its peers: `python -m benchmarks` (or `make benchmark`) measures both in one run
and shows ratios."""
