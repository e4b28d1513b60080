"""Training with documents kept apart: loss and gradients are those of each document alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.gpt2 import gpt2
from tests.models.test_documents import START, VOCABULARY, documents
from tfscale import models
from tfscale.compat.tfmot import ConstantSparsity
from tfscale.compress.pruning import prune
from tfscale.compress.tuning import distill, quantize_aware
from tfscale.config import (
    BERTConfig,
    BiLSTMConfig,
    GRUConfig,
    LSTMConfig,
    NNLMConfig,
    RNNConfig,
    TransformerConfig,
)
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError
from tfscale.evaluation.perplexity import evaluate_network
from tfscale.models.blockwise_attention import blockwise_attention
from tfscale.models.documents import Documents
from tfscale.training.language_model import LanguageModel

pytestmark = pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis")
LENGTHS = [5, 1, 6]
LENGTH = sum(LENGTHS)
SIZES = {"vocabulary_size": VOCABULARY, "sequence_length": LENGTH, "hidden_dim": 8}
TRANSFORMER = {**SIZES, "num_layers": 1, "num_heads": 2}
CONFIGS = {
    "rope": TransformerConfig(**TRANSFORMER),
    "learned": gpt2(**TRANSFORMER),
    "blocks": TransformerConfig(**TRANSFORMER, attention_window=3),
    "lstm": LSTMConfig(**SIZES, embedding_dim=5, num_layers=2),
    "gru": GRUConfig(**SIZES, embedding_dim=5),
    "rnn": RNNConfig(**SIZES, embedding_dim=5),
    "nnlm": NNLMConfig(**SIZES, embedding_dim=5, context_tokens=3),
}
DOCUMENTS = documents(4, lengths=LENGTHS)
IDS = np.stack([np.concatenate(row) for row in DOCUMENTS])
# Each document ends with the start token, which is the end token too; the next one begins with it.
TARGETS = np.concatenate([IDS[:, 1:], np.full((4, 1), START, np.int32)], axis=1)
WEIGHTS = np.ones(IDS.shape, "float32")
WEIGHTS[1, 7:] = 0
WEIGHTS[2, 3] = 0.25
APART = {"document_mask": True, "document_start": START}


def alone(network, teacher=None):
    """Mean loss and its gradients, from the functional model on one document after the other."""
    variables = [variable.value for variable in network.trainable_variables]
    with tf.GradientTape() as tape:
        total = 0.0
        for row, inputs in enumerate(DOCUMENTS):
            at = 0
            for ids in inputs:
                span = slice(at, at + len(ids))
                losses = keras.losses.sparse_categorical_crossentropy(
                    TARGETS[row : row + 1, span], network(ids[None]), from_logits=True
                )
                if teacher is not None:
                    own, taught = (tf.nn.log_softmax(n(ids[None])) for n in (network, teacher))
                    divergence = tf.reduce_sum(tf.exp(taught) * (taught - own), -1)
                    losses = 0.5 * losses + 0.5 * divergence
                total += tf.reduce_sum(losses * WEIGHTS[row, span])
                at += len(ids)
        mean = total / WEIGHTS.sum()
    gradients = tape.gradient(mean, variables)
    return float(mean), [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]


def build(name, config=None, **options):
    """A compiled model whose first step of SGD leaves the gradient in its weights."""
    with strategy(name).scope():
        model = LanguageModel(models.build_network(config))
        teacher = options.pop("teacher", None)
        if teacher is not None:
            distill(model, teacher, weight=0.5, temperature=1.0)
        model.compile(
            keras.optimizers.SGD(1.0), **({"clip_norm": 0.0, "xla": False} | APART | options)
        )
    return model


def one_step(model):
    """The loss of a step and its gradients."""
    before = [weight.numpy() for weight in model.network.trainable_variables]
    fitted = model.fit(IDS, TARGETS, batch_size=4, sample_weight=WEIGHTS, verbose=0, shuffle=False)
    after = [weight.numpy() for weight in model.network.trainable_variables]
    return fitted.history["loss"][0], [a - b for a, b in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    "family, name, options",
    [
        pytest.param(
            "rope",
            "single",
            {"micro_batches": 2, "remat": True, "xla": True},
            marks=pytest.mark.slow,
        ),
        ("rope", "mirrored", {"loss_chunk_tokens": 10}),
        pytest.param("learned", "mirrored", {"micro_batches": 2}, marks=pytest.mark.slow),
        pytest.param("learned", "single", {"xla": True}, marks=pytest.mark.slow),
        pytest.param("blocks", "single", {"remat": True}, marks=pytest.mark.slow),
        pytest.param(
            "lstm",
            "single",
            {"micro_batches": 2, "remat": True, "xla": True},
            marks=pytest.mark.slow,
        ),
        pytest.param("lstm", "mirrored", {}, marks=pytest.mark.slow),
        pytest.param("gru", "single", {"xla": True}, marks=pytest.mark.slow),
        ("gru", "mirrored", {"micro_batches": 2}),
        pytest.param("rnn", "single", {"loss_chunk_tokens": 10}, marks=pytest.mark.slow),
        ("nnlm", "single", {"remat": True}),
    ],
    ids=str,
)
def test_a_step_on_windows_is_a_step_on_documents_alone(family, name, options):
    model = build(name, CONFIGS[family], **options)
    expected, gradients = alone(models.build_network(CONFIGS[family]))
    loss, found = one_step(model)
    assert loss == pytest.approx(expected, abs=1e-5)
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    "name, options",
    [
        pytest.param(
            "single", {"micro_batches": 2, "remat": True, "xla": True}, marks=pytest.mark.slow
        ),
        pytest.param("single", {"loss_chunk_tokens": 10}, marks=pytest.mark.slow),
        ("mirrored", {"micro_batches": 2}),
    ],
    ids=str,
)
def test_block_by_block_it_is_the_same_step(name, options, monkeypatch):
    """As in windows of `FROM_LENGTH` tokens, whose blocks are larger."""
    blocks = []

    def small_blocks(*arguments, **keywords):
        blocks.append(4)
        return blockwise_attention(*arguments, block=4, **keywords)

    monkeypatch.setattr("tfscale.models.blockwise_rule.FROM_LENGTH", LENGTH)
    monkeypatch.setattr("tfscale.models.attention.blockwise_attention", small_blocks)
    model = build(name, CONFIGS["rope"], **options)
    expected, gradients = alone(models.build_network(CONFIGS["rope"]))
    assert not blocks
    loss, found = one_step(model)
    assert blocks and loss == pytest.approx(expected, abs=1e-5)
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    blocks.clear()
    expected, _ = alone(model.network)
    scored = model.evaluate(IDS, TARGETS, sample_weight=WEIGHTS, verbose=0)["loss"]
    assert blocks and scored == pytest.approx(expected, abs=1e-5)


def test_without_the_mask_the_step_is_another_one():
    """So that the test above can fail."""
    model = build("single", CONFIGS["rope"], document_mask=False, document_start=None)
    expected, gradients = alone(models.build_network(CONFIGS["rope"]))
    loss, found = one_step(model)
    assert abs(loss - expected) > 2e-5
    gaps = [np.abs(a - b).max() for a, b in zip(found, gradients, strict=True)]
    assert max(gaps) > 1e-4


@pytest.mark.slow
def test_a_teacher_reads_each_document_by_itself_too():
    teacher = models.build_network(CONFIGS["learned"], seed=3)
    teacher.set_weights([3 * weight for weight in teacher.get_weights()])
    _, gradients = alone(models.build_network(CONFIGS["rope"]), teacher)
    _, found = one_step(build("single", CONFIGS["rope"], teacher=teacher))
    for one, other in zip(found, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_weights_that_are_rounded_and_pruned_go_together_with_it():
    """Evaluation has the weights that are used, and the step those before its update."""
    with strategy("single").scope():
        model = LanguageModel(models.build_network(CONFIGS["rope"]))
        model.network.set_weights([4 * weight for weight in model.network.get_weights()])
        plain, _ = alone(model.network)
        quantize_aware(model, "int4")
        prune(model, ConstantSparsity(0.5, 0, frequency=1))
        model.compile(keras.optimizers.SGD(0.0), xla=False, clip_norm=0.0, **APART)
    fitted = model.fit(IDS, TARGETS, batch_size=4, sample_weight=WEIGHTS, verbose=0, epochs=2)
    with model.averaged_weights():
        expected, _ = alone(model.network)
    assert abs(plain - expected) > 1e-4
    assert fitted.history["loss"][1] == pytest.approx(expected, abs=1e-5)
    scored = model.evaluate(IDS, TARGETS, sample_weight=WEIGHTS, verbose=0)["loss"]
    assert scored == pytest.approx(expected, abs=1e-5)


def test_evaluation_scores_each_document_by_itself(tmp_path):
    model = build("mirrored", CONFIGS["learned"])
    expected, _ = alone(model.network)
    scored = model.evaluate(IDS, TARGETS, sample_weight=WEIGHTS, verbose=0)
    assert scored["loss"] == pytest.approx(expected, abs=1e-5)
    logs = model.fit(
        IDS,
        TARGETS,
        validation_data=(IDS, TARGETS, WEIGHTS),
        batch_size=4,
        verbose=0,
    ).history
    after, _ = alone(model.network)
    assert logs["val_loss"][0] == pytest.approx(after, abs=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    again = loaded.evaluate(IDS, TARGETS, sample_weight=WEIGHTS, verbose=0)
    assert again["loss"] == pytest.approx(after, abs=1e-5)
    batches = tf.data.Dataset.from_tensors((IDS, TARGETS, WEIGHTS))
    for documents_apart, same in ((Documents(START), True), (None, False)):
        score = evaluate_network(model.network, batches, documents=documents_apart)
        assert bool(abs(score.nll / WEIGHTS.sum() - after) < 1e-5) is same


def test_a_carried_state_ends_with_its_document():
    """Two batches of the same streams: as if each document were read by itself."""
    cut = LENGTH // 3
    config = GRUConfig(**SIZES | {"sequence_length": cut}, embedding_dim=5, stateful=True)
    parts = [[x[:, at : at + cut] for at in range(0, LENGTH, cut)] for x in (IDS, TARGETS)]
    model = build("mirrored", config, streams=4)
    model.optimizer.learning_rate.assign(0.0)
    network = models.build_network(config)
    losses = []
    for row, inputs in enumerate(DOCUMENTS):
        at = 0
        for ids in inputs:
            losses.append(
                keras.losses.sparse_categorical_crossentropy(
                    TARGETS[row : row + 1, at : at + len(ids)], network(ids[None]), from_logits=True
                ).numpy()
            )
            at += len(ids)
    expected = np.concatenate(losses, axis=1).mean()
    ids, targets = (np.concatenate(part) for part in parts)
    loss = model.fit(ids, targets, batch_size=4, shuffle=False, verbose=0).history["loss"][0]
    assert loss == pytest.approx(expected, abs=1e-5)
    batches = tf.data.Dataset.from_tensor_slices((ids, targets)).batch(4)
    assert model.evaluate(batches, verbose=0)["loss"] == pytest.approx(expected, abs=1e-5)
    plain = evaluate_network(model.network, batches)
    assert abs(plain.nll_per_token - expected) > 1e-5


def test_the_change_of_the_output_is_not_penalized_from_document_to_document():
    """Temporal activation regularization, whose mean is over the changes within documents."""
    config = LSTMConfig(**SIZES, embedding_dim=5, temporal_activation_regularization=2.0)
    network = models.build_network(config)
    with keras.StatelessScope(collect_losses=True) as scope:
        network.hidden_states(IDS[:1], training=True, documents=Documents(START))
    lstm = network.recurrent_layers[0]
    changes = [np.diff(lstm(network.token_embedding(ids[None]))[0], axis=0) for ids in DOCUMENTS[0]]
    squares = np.concatenate(changes) ** 2
    assert len(squares) == sum(LENGTHS) - len(LENGTHS)
    assert float(scope.losses[0]) == pytest.approx(2.0 * squares.mean(), rel=1e-5)


@pytest.mark.parametrize(
    "network, message",
    [
        (lambda: models.build_network(BERTConfig(**SIZES, num_heads=2)), "BERT 'bert' reads both"),
        (lambda: models.build_network(BiLSTMConfig(**SIZES)), "BiLSTMLM 'bilstm' reads both sides"),
        (
            lambda: keras.Sequential(
                [keras.Input((None,), dtype="int32"), keras.layers.Embedding(20, 20)], name="own"
            ),
            "Sequential 'own' does not offer it; leave it out, or take a network of",
        ),
        (
            lambda: models.build_network(
                TransformerConfig(**SIZES | {"vocabulary_size": 1}, num_heads=2, num_layers=1)
            ),
            "document_start=1 is no id of 'transformer', which knows 1 tokens",
        ),
    ],
    ids=["bert", "bilstm", "own", "id"],
)
def test_what_cannot_is_refused(network, message):
    with pytest.raises(ConfigError, match=message):
        LanguageModel(network()).compile("sgd", xla=False, **APART)


def test_a_teacher_that_cannot_is_refused():
    own = keras.Sequential(
        [keras.Input((None,), dtype="int32"), keras.layers.Embedding(VOCABULARY, VOCABULARY)]
    )
    with pytest.raises(ConfigError, match="Sequential 'sequential.*' does not offer it"):
        build("single", CONFIGS["rope"], teacher=own)
