"""Filters, one file for each name of `--filters`."""
