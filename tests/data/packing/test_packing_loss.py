"""A step on packed rows is a step on every piece of every document alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.data.packing.documented import (
    END,
    START,
    batches,
    documented_data,
    documents_of,
    pieces_of,
)
from tests.gpt2 import gpt2
from tests.slow import slow_but
from tfscale.config import LSTMConfig, NNLMConfig, TransformerConfig
from tfscale.data.manifest import Manifest
from tfscale.data.packing.plan import packed_plan
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.training.language_model import LanguageModel

pytestmark = pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")
LENGTH = 12
DOCUMENTS = documents_of([30, 3, 5, 17, 1, 8, 14, 4, 26, 12, 2, 15])
SIZES = {"vocabulary_size": 257, "sequence_length": LENGTH, "hidden_dim": 8}
CONFIGS = {
    "transformer": TransformerConfig(**SIZES, num_layers=1, num_heads=2),
    "learned": gpt2(**SIZES, num_layers=1, num_heads=2),
    "blocks": TransformerConfig(**SIZES, num_layers=1, num_heads=2, attention_window=3),
    "lstm": LSTMConfig(**SIZES, embedding_dim=5, num_layers=2),
    "nnlm": NNLMConfig(**SIZES, embedding_dim=5, context_tokens=3),
}
APART = {"document_mask": True, "document_start": START, "document_end": END}


@pytest.fixture(scope="module")
def epoch(tiny_data_dir, tmp_path_factory):
    """All rows of an epoch as one batch, in which a rest stands behind another document."""
    data = documented_data(
        tiny_data_dir,
        tmp_path_factory.mktemp("loss") / "data",
        DOCUMENTS,
        [sum(map(len, DOCUMENTS))],
        start_id=START,
    )
    rows = packed_plan(data, Manifest.load(data), LENGTH, 1).rows_per_epoch
    steps = -(-rows // 2)
    found = batches(data, steps, sequence_length=LENGTH, global_batch_size=2)
    batch = tuple(np.concatenate(part) for part in zip(*found, strict=True))
    inputs, targets, weights = batch
    behind = (targets[:, :-1] == END) & (inputs[:, 1:] != START) & (weights[:, 1:] > 0)
    assert behind.sum() >= 2 and (weights == 0).any()
    return batch


def alone(network):
    """Mean loss and its gradients, one piece after the other."""
    variables = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        total = 0.0
        for (inputs, targets), count in pieces_of(DOCUMENTS, LENGTH, START).items():
            losses = keras.losses.sparse_categorical_crossentropy(
                tf.constant([targets]), network(tf.constant([inputs])), from_logits=True
            )
            total += count * tf.reduce_sum(losses)
        mean = total / sum(map(len, DOCUMENTS))
    gradients = tape.gradient(mean, variables)
    return float(mean), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def one_step(config, name, epoch, **options):
    """Loss and gradients of a step of SGD on the epoch, and what `evaluate` says before it."""
    inputs, targets, weights = epoch
    with strategy(name).scope():
        model = LanguageModel(build_network(config))
        model.compile(
            keras.optimizers.SGD(1.0), **({"clip_norm": 0.0, "xla": False} | APART | options)
        )
    arguments = {"batch_size": len(inputs), "sample_weight": weights, "verbose": 0}
    scored = model.evaluate(inputs, targets, **arguments)["loss"]
    before = [weight.numpy() for weight in model.network.trainable_variables]
    fitted = model.fit(inputs, targets, shuffle=False, **arguments)
    after = [weight.numpy() for weight in model.network.trainable_variables]
    gradients = [a - b for a, b in zip(before, after, strict=True)]
    return fitted.history["loss"][0], gradients, scored


@pytest.mark.parametrize(
    ("family", "name", "options"),
    [
        pytest.param(
            "transformer",
            "single",
            {"micro_batches": 2, "remat": True, "xla": True},
            marks=pytest.mark.slow,
        ),
        ("learned", "mirrored", {}),
        ("blocks", "single", {"loss_chunk_tokens": 10}),
        pytest.param("lstm", "single", {"xla": True}, marks=pytest.mark.slow),
        ("lstm", "mirrored", {"remat": True}),
        ("nnlm", "single", {}),
    ],
    ids=str,
)
def test_the_loss_is_that_of_each_piece_alone(family, name, options, epoch):
    config = CONFIGS[family]
    expected, gradients = alone(build_network(config))
    loss, found, scored = one_step(config, name, epoch, **options)
    assert loss == pytest.approx(expected, abs=1e-5)
    assert scored == pytest.approx(expected, abs=1e-5)
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("family", slow_but(["transformer", "lstm"], "transformer"))
def test_without_the_end_a_rest_is_read_as_going_on(family, epoch):
    """So that the test above can fail."""
    expected, gradients = alone(build_network(CONFIGS[family]))
    loss, found, _ = one_step(CONFIGS[family], "single", epoch, document_end=None)
    gaps = [np.abs(a - b).max() for a, b in zip(found, gradients, strict=True)]
    assert abs(loss - expected) > 1e-5 or max(gaps) > 1e-4


def test_an_end_that_cannot_be_is_refused():
    network = build_network(CONFIGS["transformer"])
    with pytest.raises(ConfigError, match="document_end=300 is no id of 'transformer', which"):
        LanguageModel(network).compile("sgd", **APART | {"document_end": 300})
    with pytest.raises(ConfigError, match="document_end=4 has no effect without document_mask"):
        LanguageModel(network).compile("sgd", document_end=4)
