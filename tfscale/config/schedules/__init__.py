"""Schedules of the learning rate, one a file: `cosine.py` holds `--train.schedule cosine`."""
