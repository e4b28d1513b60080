"""The kinds of tokenizers that tfscale brings, one in each file, by the name that a user types."""
