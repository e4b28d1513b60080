"""How good a model is (perplexity, bits per byte) and what it writes (sampling, generation)."""
