"""A gang of worker processes on this machine, started, watched, and started again together. Needs
no TensorFlow."""
