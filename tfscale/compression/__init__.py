"""Smaller models: pruning, of weights and of units. `tfscale.compress` is this room."""

from tfscale.compression.compress import compress_run
from tfscale.compression.pruning import Pruner, Sparsity, measure_sparsity, prune, strip
from tfscale.compression.structured import shrink_feed_forward, shrink_lstm
from tfscale.compression.tfmot import ConstantSparsity, PolynomialDecay

__all__ = [
    "ConstantSparsity",
    "PolynomialDecay",
    "Pruner",
    "Sparsity",
    "compress_run",
    "measure_sparsity",
    "prune",
    "shrink_feed_forward",
    "shrink_lstm",
    "strip",
]
