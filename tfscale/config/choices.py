"""Choices that several options share, each written down once."""

from typing import Annotated, Literal

from tfscale.config.refused import REFUSED
from tfscale.registry import RECIPES, NameIn

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]
Packing = Literal["stream", "best_fit"]
SentencePieceModel = Literal["unigram", "bpe"]
WordSegmenter = Literal["none", "jieba"]
Quantization = Annotated[str, NameIn(RECIPES, refused=REFUSED)]
"""The name of a quantization recipe; see `tfscale.models.recipe.Recipe`."""
Rounding = Literal["nearest", "learned"]
"""How weights in blocks of int4 are rounded; see `tfscale.exporting.learned_rounding`."""
