"""XLA is used where it is: the TPU wheel of TensorFlow has none for the host's processor."""

import numpy as np
import pytest
import tensorflow as tf

from tfscale.config import LSTMConfig, TrainConfig, TransformerConfig
from tfscale.data.pipeline import data_errors
from tfscale.errors import ConfigError
from tfscale.models import build_network
from tfscale.training import step, validation, xla
from tfscale.training.language_model import LanguageModel

CONFIG = LSTMConfig(vocabulary_size=11, sequence_length=4, embedding_dim=4, hidden_dim=4)
MISSING = "could not find registered transfer manager for platform Host -- check target linkage"


@pytest.fixture
def without_xla(monkeypatch):
    """This TensorFlow as the TPU wheel is."""

    def compiled(function, **options):
        if options.get("jit_compile"):
            raise tf.errors.NotFoundError(None, None, MISSING)
        return original(function, **options)

    original = tf.function
    monkeypatch.setattr(tf, "function", compiled)
    uncached = xla.has_xla.__wrapped__
    for module in (xla, step, validation):
        monkeypatch.setattr(module, "has_xla", uncached)


def test_here_is_xla():
    assert xla.has_xla()
    assert xla.use_xla(TrainConfig(), CONFIG) and xla.use_xla(TrainConfig(xla="on"), CONFIG)
    assert not xla.use_xla(TrainConfig(xla="off"), CONFIG)


def test_auto_takes_what_there_is(without_xla):
    assert not xla.use_xla(TrainConfig(), CONFIG) and not xla.use_xla(
        TrainConfig(xla="off"), CONFIG
    )
    with pytest.raises(
        ConfigError, match="train.xla='on', and TensorFlow .* has no XLA for this device"
    ):
        xla.use_xla(TrainConfig(xla="on"), CONFIG)


def test_fit_and_evaluate_need_no_xla(without_xla):
    ids = np.random.default_rng(0).integers(0, 11, (8, 5)).astype("int32")
    model = LanguageModel(
        build_network(
            TransformerConfig(
                vocabulary_size=11, sequence_length=4, hidden_dim=4, num_layers=1, num_heads=2
            )
        )
    )
    model.compile("sgd")
    history = model.fit(ids[:, :-1], ids[:, 1:], batch_size=8, verbose=0)
    assert history.history["loss"][0] == pytest.approx(np.log(11), abs=0.2)
    assert model.evaluate(ids[:, :-1], ids[:, 1:])["loss"] == pytest.approx(np.log(11), abs=0.2)


def test_an_error_of_an_operation_is_no_damaged_shard(tmp_path):
    with pytest.raises(tf.errors.NotFoundError, match="transfer manager"), data_errors():
        raise tf.errors.NotFoundError(
            None, None, f"Graph execution error:\n\n{MISSING}\n\t [[{{{{node Call}}}}]]"
        )
    vanished = tf.data.TFRecordDataset([str(tmp_path / "train-0.tfrecord")])
    with pytest.raises(
        ConfigError.__base__, match=r"^a shard could not be read: .*train-0.tfrecord; No such file"
    ):
        with data_errors():
            tf.function(lambda iterator: next(iterator))(iter(vanished))
