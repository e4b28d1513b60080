"""Runs: training from start to end, and the folders that it writes."""
