"""The formats of text files that tfscale brings, one in each file, by name."""
