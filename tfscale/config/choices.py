"""Choices that several options share, each written down once."""

from typing import Literal

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
SentencePieceModel = Literal["unigram", "bpe"]
WordSegmenter = Literal["none", "jieba"]
Quantization = Literal["none", "float16", "int8", "int4", "int4_all"]
