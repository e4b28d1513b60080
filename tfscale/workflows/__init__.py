"""Workflows of several steps: the quickstart, comparisons, searches and the check by the TPU
compiler."""
