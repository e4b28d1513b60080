"""Parts of smaller models: fewer units, zeros, low precision, and learning from a teacher.

`tfscale.compress_` makes a run smaller by them, as the command `tfscale compress` does.
"""

from tfscale.compat.tfmot import ConstantSparsity, PolynomialDecay
from tfscale.compress.factorize import factorize_embedding, factorize_feed_forward, factorize_output
from tfscale.compress.pruning import Pruner, prune, strip
from tfscale.compress.sparsity import Sparsity, measure_sparsity
from tfscale.compress.structured import shrink_feed_forward, shrink_heads, shrink_lstm
from tfscale.compress.tuning import distill, quantize_aware

__all__ = [
    "ConstantSparsity",
    "PolynomialDecay",
    "Pruner",
    "Sparsity",
    "distill",
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
]
