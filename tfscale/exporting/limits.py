"""How much an export may change a model, and the rows in which a comparison is written down.

Rounding n numbers to b bits, with the largest at the end of the scale, adds an error whose size
relative to theirs is

    noise(b, n) = c(n) / ((2^(b - 1) - 1) sqrt(12)),    c(n) = sqrt(2 ln 2n)

since c(n) is how far the largest of n normal numbers is from their mean in standard deviations, and
a uniform error has 1 / sqrt(12) of its step. A product passes the relative error on as it is: both
the sum and its error grow with the square root of n. P products, one after the other or added to a
residual stream, add independent errors, whose squares add up: the logits are off by about noise x
sqrt(P) of their spread. The limit is three times that; where the weights are not rounded in the
reference either, theirs is as large and its square comes on top.

`python -m benchmarks.export_limits` measures the int8 files of networks with random weights, as
they are initialised and of standard deviation 0.15. Limit / measured error, by shape (P, n):

    GPT 2 x 32 (9, 128)       11.4   3.7      LSTM 16 (4, 16)            6.4  25.3
    GPT 4 x 128 (17, 512)      7.9   3.1      LSTM 2 x 64 (6, 64)        5.4  11.1
    GPT 12 x 64 (49, 256)     19.7   6.1      LSTM 64, tied (4, 64)      5.4   4.5
    Llama 2 x 64 (9, 256)     12.3   2.4      GRU 16 (4, 16)             5.9  11.2
    Llama 30 x 64 (121, 256)  40.8   1.9      RNN 32 (4, 32)             2.1   5.3
    Gemma 18 x 64 (73, 256)   36.1            NNLM 64 (3, 192)           5.4   5.1

The rows of 30 and 18 layers come from an earlier run with a similar text. The factor of three was
chosen by looking at these very shapes, so the table shows how much room it leaves and is no
independent test of the formula. The estimate is an upper one for deep networks that add small parts
to their stream (30 layers as initialised: 1/40 of the limit); damage below such a limit shows in
the float32 copy of the file, whose limits do not grow (`tfscale.exporting.dequantized`).
"""

import math
from dataclasses import dataclass

import keras
import numpy as np

from tfscale.config import Quantization
from tfscale.models.cached_model import CachedModel
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import knows_formats, weight_formats

_MARGIN = 3.0
_ACTIVATION_BITS = 8
_HALF = 2.0**-11 / math.sqrt(3)
"""Relative error of a number that is rounded to float16."""
_FEW_CODES = 2e-3
"""Error of a small network of which a few numbers are rounded up instead of down."""


@dataclass(frozen=True)
class Limits:
    """The most that a recipe may change.

    All but `perplexity_change` compare with the network whose weights are rounded as the recipe
    stores them, or, where `converted` says so, with its own. `max_logit_difference` is in units of
    the logits' spread, at least 1. `relative_logit_error` is the root mean square of the
    differences over that of the network's logits around their mean. `from_rounded` is how far the
    perplexity may be from that of the network with rounded weights, relative: however much the
    weights lose, little is left to everything else. `top1_agreement` is the least
    fraction of tokens whose most likely successor is the same, or nearly as likely by the network:
    within `greedy_gap`. That is how much less likely, in the network's own logits and in units of
    their spread, the file's choice may be. `perplexity_change` is relative, up or down, from the
    network as it was trained.
    """

    max_logit_difference: float | None
    relative_logit_error: float
    top1_agreement: float
    perplexity_change: float
    from_rounded: float
    greedy_gap: float


def keeps_weights(quantize: str) -> bool:
    """Returns whether a file of this recipe has the weights of the network as they are."""
    return recipe(quantize).converted_as == "float32" and not recipe(quantize).rounds


def limits_of(
    network: keras.Model | CachedModel, quantize: Quantization, converted: bool = False
) -> Limits:
    """Returns the limits of a file of a network.

    Args:
        network: the network; the number and the width of its products decide how far rounding goes.
        quantize: the recipe.
        converted: the reference has the network's own weights, not those that the recipe stores.

    Example:
        limits_of(network, "int8").relative_logit_error    # 0.06 of two layers of width 32
    """
    chosen = recipe(quantize)
    perplexity = chosen.perplexity_change
    # The same float32 arithmetic in another order: logits differ by 1e-6 to 1e-5, a relative error
    # of 3e-7. A weight beyond float16's range becomes infinite and fails all of these.
    if keeps_weights(quantize) or not (chosen.rounds or converted):
        return Limits(1e-3, 1e-4, 0.998, perplexity, 1e-4, 1e-3)
    products, width = products_of(network)
    if not chosen.rounds:
        error = max(5e-3, _MARGIN * _HALF * math.sqrt(products))
        return Limits(None, error, 0.99, perplexity, perplexity, 4 * error)
    error = _MARGIN * noise(_ACTIVATION_BITS, width) * math.sqrt(products * (1 + converted))
    # Activations are int8 in each of these recipes.
    return Limits(None, error, 0.98, perplexity, recipe("int8").perplexity_change, 2 * error)


def float32_copy_limits(
    network: keras.Model | CachedModel, quantize: Quantization, converted: bool
) -> Limits:
    """Returns the limits of the float32 copy of a file with rounded weights.

    Those of a network of ours are the limits of a float32 file. The converter folds a factor that
    follows or precedes a product into the weights of somebody else's network: with one scale per
    row it goes through the rounding, but for a few numbers that lie between two codes; with the
    coarse scales of blocks it does not. Where that, or how the file rounds a weight, is not known,
    the limits are those of the rounded file.

    Args:
        network: the network.
        quantize: a recipe that rounds.
        converted: the network is not one of ours.
    """
    if not converted:
        return limits_of(network, "none")
    if recipe(quantize).blocks_in or not knows_formats(network):
        return limits_of(network, quantize, converted)
    perplexity = recipe(quantize).perplexity_change
    return Limits(None, _FEW_CODES, 0.99, perplexity, perplexity, 4 * _FEW_CODES)


def noise(bits: int, width: int) -> float:
    """Returns the relative error of `width` numbers rounded to `bits` with one scale."""
    return math.sqrt(2 * math.log(2 * max(width, 2))) / ((2 ** (bits - 1) - 1) * math.sqrt(12))


def products_of(network: keras.Model | CachedModel) -> tuple[int, int]:
    """Returns how many products with a rounded matrix a token takes, and how long a sum can be."""
    formats = weight_formats(network, "int8")
    summed = [1]
    products = 1  # The output, which may be a table.
    for weight in network.weights:
        form = formats.get(weight.path)
        if form is None or form.bits > 8:
            continue
        axes = (form.axis,) if isinstance(form.axis, int) else form.axis
        summed.append(math.prod(weight.shape[axis] for axis in axes[: 1 if form.gates else None]))
        products += weight.name not in ("embeddings", "reverse_embeddings")
    return products, max(summed)


def agreeing(actual: np.ndarray, expected: np.ndarray, gap: float) -> int:
    """Returns how many rows of logits (N, V) choose the same token, or one nearly as likely.

    Rounding may take either of two such tokens. In the network's logits the choice is below the
    best one by at most `gap`.
    """
    chosen = np.take_along_axis(expected, actual.argmax(-1)[..., None], axis=-1)[..., 0]
    return int((expected.max(-1) - chosen <= gap).sum())


def relative_change(after: float, before: float) -> float:
    """Returns how far a perplexity moved, relative; 0 where both are infinite."""
    return 0.0 if after == before else abs(after / before - 1)
