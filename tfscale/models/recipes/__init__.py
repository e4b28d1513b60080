"""Quantization recipes: one file each, with the class that is registered by the recipe's name."""
