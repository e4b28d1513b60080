"""Text to ids and back; without TensorFlow, so that the same code runs in training and on the
device."""

from tfscale.text.tokenizers.base import StreamDecoder, Tokenizer
from tfscale.text.tokenizers.loading import load_tokenizer
from tfscale.text.tokenizers.training import train_tokenizer

__all__ = ["StreamDecoder", "Tokenizer", "load_tokenizer", "train_tokenizer"]
