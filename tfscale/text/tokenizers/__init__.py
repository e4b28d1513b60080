"""Text to ids and back.

Without TensorFlow, so that the same code runs in training and on the device.
"""

from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.loading import load_tokenizer
from tfscale.text.tokenizers.streaming import StreamDecoder
from tfscale.text.tokenizers.training import train_tokenizer

__all__ = ["StreamDecoder", "Tokenizer", "load_tokenizer", "train_tokenizer"]
