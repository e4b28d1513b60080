"""`LanguageNetwork`: a family that is defined here, outside the package, is used as any other."""

from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import tfscale
from tests.gpt2 import gpt2
from tfscale.compress import ConstantSparsity, prune, quantize_aware, shrink_heads
from tfscale.compress.factorize import factorize_embedding
from tfscale.compress.vocabulary import trim_network
from tfscale.config import NGramConfig, TrainConfig
from tfscale.config.models import NetworkConfig, network_families
from tfscale.config.shrinking import ShrinkConfig
from tfscale.errors import ConfigError
from tfscale.models import LanguageNetwork, build_network, capabilities, parameter_count
from tfscale.planning import plan
from tfscale.registry import FAMILIES, register
from tfscale.training.language_model import LanguageModel
from tfscale.workflows.search.candidates import candidates


@dataclass(frozen=True, kw_only=True)
class PairConfig(NetworkConfig):
    """Reads the last two tokens."""

    family: ClassVar[str] = "pair"

    width: int = 8
    """Width of the embedding."""

    @property
    def embedding_width(self) -> int:
        return self.width

    def parameter_count(self) -> int:
        return (self.vocabulary_size + 2 * self.width) * self.width


class PairLM(LanguageNetwork):
    """Ids (B, T) -> logits (B, T, V) of a product of the last two embedded tokens and a matrix."""

    config_class = PairConfig
    decodes = "state"

    def __init__(self, config, precision="float32", seed=0, name="pair"):
        self.check_vocabulary(config)
        glorot = keras.initializers.GlorotUniform(seed=seed)
        token_embedding = keras.layers.ReversibleEmbedding(
            config.vocabulary_size,
            config.width,
            embeddings_initializer=glorot,
            dtype=precision,
            name="token_embedding",
        )
        mix = keras.layers.Dense(
            config.width, use_bias=False, kernel_initializer=glorot, dtype=precision, name="mix"
        )
        ids = keras.Input((None,), dtype="int32")
        embedded = token_embedding(ids)
        logits = token_embedding(mix(self._pairs(embedded)), reverse=True)
        super().__init__(inputs=ids, outputs=logits, name=name)
        self.config, self.precision, self.seed = config, precision, seed
        self.token_embedding, self.mix = token_embedding, mix

    @staticmethod
    def _pairs(embedded):
        before = ops.pad(embedded[:, :-1], [[0, 0], [1, 0], [0, 0]])
        return ops.concatenate([before, embedded], axis=-1)

    def hidden_states(self, ids, training=False, remat=False):
        return self.mix(self._pairs(self.token_embedding(ids)))

    def project(self, hidden):
        return self.token_embedding(hidden, reverse=True)

    @property
    def output_variables(self):
        return [self.token_embedding.embeddings]

    def cache_spec(self):
        return {"before": (1, self.config.width)}

    def cached_step(self, tokens, cache, *, input_pos=None, mask=None, with_logits=True):
        table = self.token_embedding.embeddings.value
        embedded = tf.gather(table, tf.reshape(tokens, (1,)))
        hidden = tf.matmul(tf.concat([cache["before"], embedded], axis=1), self.mix.kernel.value)
        logits = tf.matmul(hidden, table, transpose_b=True)[None] if with_logits else None
        return logits, {"before": embedded}


@pytest.fixture(autouse=True, scope="module")
def registered():
    """The family, known for the tests of this file alone."""
    register(PairLM)
    yield
    del FAMILIES._registered["pair"]


CONFIG = PairConfig(vocabulary_size=50, sequence_length=12)
IDS = np.random.default_rng(0).integers(0, 50, (2, 12)).astype(np.int32)


def test_it_is_built_by_its_config_and_known_by_its_name():
    assert "pair" in FAMILIES and FAMILIES.get("pair") is PairConfig
    assert network_families()["pair"] is PairConfig and "ngram" not in network_families()
    network = build_network(CONFIG, seed=3)
    assert type(network) is PairLM and tuple(network(IDS).shape) == (2, 12, 50)
    assert parameter_count(CONFIG) == tfscale.parameter_count(CONFIG) == network.count_params()
    np.testing.assert_allclose(network.project(network.hidden_states(IDS)), network(IDS), atol=1e-6)
    assert network.predicts == "next" and capabilities(network).decodes == "state"


def test_it_decodes_token_by_token_as_it_reads_a_window():
    network = build_network(CONFIG)
    cache = {name: tf.zeros(shape) for name, shape in network.cache_spec().items()}
    for place, token in enumerate(IDS[0]):
        logits, cache = network.cached_step(tf.constant([[token]]), cache)
        np.testing.assert_allclose(logits[0, 0], network(IDS)[0, place], atol=1e-5)


def test_a_plan_says_that_its_costs_are_estimated():
    made = plan(CONFIG, TrainConfig(global_batch_size=4), chip="h100")
    assert made.parameters == network_parameters() and made.hours > 0
    assert "the costs of the family pair are estimated" in made.source
    known = plan(gpt2(vocabulary_size=50), TrainConfig(global_batch_size=4), chip="h100")
    assert "estimated" not in known.source


def network_parameters():
    return (50 + 16) * 8


def test_it_is_pruned_and_trained_for_a_recipe():
    model = LanguageModel(build_network(CONFIG))
    prune(model, ConstantSparsity(0.5, begin_step=1, frequency=1))
    assert len(quantize_aware(model, "int8")) == 2
    model.compile(keras.optimizers.SGD(0.1), xla=False)
    model.fit(tf.data.Dataset.from_tensors((IDS, np.roll(IDS, -1, 1))).repeat(3), verbose=0)
    kernel = model.network.mix.kernel.numpy()
    assert (kernel == 0).mean() == 0.5


def test_what_it_cannot_lose_is_refused_in_one_line():
    network = build_network(CONFIG)
    with pytest.raises(
        ConfigError, match="^shrink.num_heads is for a Transformer, and this is Pair"
    ):
        shrink_heads(network, 1)
    with pytest.raises(ConfigError, match="^shrink.embedding_rank is for .*, not PairLM$"):
        factorize_embedding(network, 2)
    with pytest.raises(ConfigError, match="^a model of the family pair has no shrink.num_heads$"):
        CONFIG.shrunken(ShrinkConfig(num_heads=1))


def test_a_vocabulary_is_trimmed_by_the_rows_of_its_table():
    network = build_network(CONFIG)
    kept = [3, 4, 7, 20]
    small = trim_network(network, kept)
    ids = np.array([[0, 2, 3, 1]], np.int32)
    whole = network(np.array(kept)[ids])
    np.testing.assert_allclose(small(ids), np.take(whole, kept, axis=-1), atol=1e-6)


def test_a_search_tries_recipes_and_no_sizes():
    tried = candidates(CONFIG, overhead=0, compressed=False)
    assert {candidate.name for candidate in tried} == {
        "int8",
        "int4",
        "int4-tuned",
        "int4_all",
        "int4_all-tuned",
    }


def test_a_saved_network_is_read_again(tmp_path):
    network = build_network(CONFIG, seed=5)
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.config == CONFIG
    np.testing.assert_array_equal(again(IDS), network(IDS))


def test_what_is_no_whole_network_is_not_registered():
    class Half(LanguageNetwork):
        config_class = PairConfig

        def project(self, hidden):
            return hidden

    message = "^Half lacks hidden_states, output_variables; see LanguageNetwork$"
    with pytest.raises(ConfigError, match=message):
        register(Half)


def test_families_without_a_network_are_named():
    with pytest.raises(ConfigError, match="no model family for NGramConfig; expected one of"):
        build_network(NGramConfig())  # type: ignore[arg-type]
