"""Layers say which shape and type they give before they compute: Keras believes them."""

import keras
import numpy as np
import pytest

from tests.gpt2 import gpt2
from tfscale.models.layers import PositionEmbedding, TransformerBlock
from tfscale.models.nnlm import LastTokens
from tfscale.models.outer_layers import ResidualMix, SoftCap
from tfscale.models.regularization import ActivationRegularization, WordDropout
from tfscale.models.transformer import block_options

OPTIONS = block_options(
    gpt2(vocabulary_size=11, hidden_dim=8, num_layers=1, num_heads=2, sequence_length=5), 0, seed=1
)
VECTORS = np.ones((2, 5, 8), "float32")
IDS = np.zeros((2, 5), "int32")
LAYERS = {
    "block": (lambda **given: TransformerBlock(OPTIONS, **given), (VECTORS,)),
    "positions": (lambda **given: PositionEmbedding(5, **given), (VECTORS,)),
    "mix": (ResidualMix, (VECTORS, VECTORS)),
    "cap": (lambda **given: SoftCap(3.0, **given), (VECTORS,)),
    "words": (lambda **given: WordDropout(11, 0.5, **given), (VECTORS, IDS)),
    "penalty": (lambda **given: ActivationRegularization(1.0, 1.0, **given), (VECTORS, VECTORS)),
    "tokens": (lambda **given: LastTokens(3, **given), (VECTORS,)),
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_what_it_said(name, policy):
    make, given = LAYERS[name]
    layer = make(dtype=policy)
    symbols = [keras.KerasTensor((None, None, *one.shape[2:]), one.dtype.name) for one in given]
    said, found = layer(*symbols), layer(*given)
    assert said.shape == (None, None, found.shape[-1])
    assert said.dtype == keras.backend.standardize_dtype(found.dtype)
    assert found.dtype == layer.compute_dtype
