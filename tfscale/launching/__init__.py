"""Worker processes on this machine, started, watched and started again together, without
TensorFlow."""
