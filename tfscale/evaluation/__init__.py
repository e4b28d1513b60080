"""Scores of runs and exported files: perplexity and bits per byte."""
