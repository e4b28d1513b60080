"""Smaller models: fewer units, zeros, low precision, and learning from a teacher."""

from tfscale.compat.tfmot import ConstantSparsity, PolynomialDecay
from tfscale.compress.compress import compress_run
from tfscale.compress.factorize import factorize_embedding, factorize_feed_forward, factorize_output
from tfscale.compress.pruning import Pruner, Sparsity, measure_sparsity, prune, strip
from tfscale.compress.structured import shrink_feed_forward, shrink_heads, shrink_lstm
from tfscale.compress.tuning import distill, distill_run, quantize_aware
from tfscale.compress.vocabulary import trim_run

__all__ = [
    "ConstantSparsity",
    "PolynomialDecay",
    "Pruner",
    "Sparsity",
    "compress_run",
    "distill",
    "distill_run",
    "factorize_embedding",
    "factorize_feed_forward",
    "factorize_output",
    "measure_sparsity",
    "prune",
    "quantize_aware",
    "shrink_feed_forward",
    "shrink_heads",
    "shrink_lstm",
    "strip",
    "trim_run",
]
