"""The tasks that tfscale brings: one file and one class each, found by the name of the file."""
