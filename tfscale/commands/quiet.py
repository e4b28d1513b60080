"""TensorFlow's start-up without its log, for the commands."""

from tfscale.quiet import load_tensorflow

__all__ = ["load_tensorflow"]
