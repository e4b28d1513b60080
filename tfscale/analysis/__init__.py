"""Analyses of a trained model: scores by group, word swaps and explanations."""
