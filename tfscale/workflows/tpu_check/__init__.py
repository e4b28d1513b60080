"""Compiles training steps for TPUs on a machine without one, by the compiler of `libtpu`."""
