"""The removals that `--remove` offers, one file for each name."""
