"""What `--remove` finds, one file for each name."""
