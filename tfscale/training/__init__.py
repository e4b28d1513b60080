"""Training: strategy, the one train step, the fit loop, schedules, checkpoints, runs."""
