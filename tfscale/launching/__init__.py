"""Starts worker processes on this machine, and watches and restarts them; no TensorFlow."""
