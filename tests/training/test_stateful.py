"""Training and evaluation that carry the state: gradients worked out in another way, checkpoints, replicas, and the use of it."""

import dataclasses
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import numpy_reference
from tests.slow import slow_but
from tfscale.analysis.slicing import document_scores
from tfscale.compress.tuning import distill
from tfscale.config import GRUConfig, LSTMConfig, PrepareConfig, RNNConfig, TrainConfig
from tfscale.data.manifest import Manifest
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream
from tfscale.device.runner import DeviceModel
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, DataError
from tfscale.evaluation.evaluate import evaluate_file, evaluate_run, text_stream
from tfscale.evaluation.perplexity import evaluate_network
from tfscale.files.description import Description
from tfscale.inference.keras_decoder import KerasDecoder
from tfscale.models import build_network
from tfscale.runs.folder import load_run
from tfscale.runs.reading import Reading
from tfscale.runs.recorder import RunRecorder
from tfscale.runs.timing import seconds_per_step
from tfscale.runs.train import train
from tfscale.text.score import stream_starts
from tfscale.training.checkpoint import read_arrays
from tfscale.training.language_model import LanguageModel
from tfscale.training.stateful import check_carries
from tfscale.workflows.tpu_check.check import tpu_check

SIZES = {
    "vocabulary_size": 20,
    "sequence_length": 5,
    "embedding_dim": 5,
    "hidden_dim": 6,
    "stateful": True,
}
RNG = np.random.default_rng(0)
# Four batches of four rows, each of which goes on in the next batch.
STREAMS = RNG.integers(0, 20, (4, 21)).astype("int32")
IDS, TARGETS = (
    np.concatenate([STREAMS[:, i + shift : i + shift + 5] for i in range(0, 20, 5)])
    for shift in (0, 1)
)


def build(config, name="single", optimizer=None, teacher=None, **options):
    with strategy(name).scope():
        network = build_network(config)
        network.set_weights([2 * weight for weight in network.get_weights()])
        model = LanguageModel(network)
        if teacher is not None:
            lesson = build_network(config)
            lesson.set_weights(network.get_weights())
            distill(model, lesson, **teacher)
        model.compile(
            optimizer or keras.optimizers.SGD(1.0),
            streams=4,
            **({"xla": False, "clip_norm": 0.0} | options),
        )
    return model


def fit(model, steps=4, epochs=1):
    model.fit(
        IDS[: 4 * steps],
        TARGETS[: 4 * steps],
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    return model.network.get_weights()


def carried(model):
    return {
        name: value.numpy()
        for name, value in model.train_step_runner.state().items()
        if name.startswith("state/")
    }


def gap(a, b):
    return max(float(np.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def read_token_by_token(network, ids, targets, caches):
    """Summed loss of a window and the states after it, by the step that decodes."""
    losses = []
    for row in range(4):
        for token, target in zip(ids[row], targets[row], strict=True):
            logits, caches[row] = network.cached_step(tf.constant([[token]]), caches[row])
            losses.append(-tf.nn.log_softmax(logits[0, 0])[target])
    return tf.add_n(losses), caches


@pytest.mark.parametrize(
    "config",
    [LSTMConfig(**SIZES), GRUConfig(**SIZES), RNNConfig(**SIZES)],
    ids=["lstm", "gru", "rnn"],
)
def test_gradients_stop_at_the_edge_and_the_state_goes_on(config):
    """Two steps of SGD; of the second, the gradient with and without what flows over the edge."""
    model = build(config)
    first, second = ((IDS[i : i + 4], TARGETS[i : i + 4]) for i in (0, 4))
    with strategy("single").scope():
        twin = build_network(config)
    twin.set_weights(model.network.get_weights())
    variables = [v.value for v in twin.trainable_variables]
    zeros = {name: tf.zeros(shape) for name, shape in twin.cache_spec().items()}
    with tf.GradientTape() as tape:
        loss, caches = read_token_by_token(twin, *first, [zeros] * 4)
    gradients = tape.gradient(loss, variables)
    # What goes on was computed by the weights of the first step.
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_sub(tf.convert_to_tensor(gradient) / 20)
    with tf.GradientTape() as tape:
        stopped = [tf.nest.map_structure(tf.stop_gradient, cache) for cache in caches]
        loss, caches = read_token_by_token(twin, *second, stopped)
    before = twin.get_weights()
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        variable.assign_sub(tf.convert_to_tensor(gradient) / 20)
    fit(model, steps=2)
    assert gap(model.network.get_weights(), twin.get_weights()) < 1e-5
    assert gap(before, twin.get_weights()) > 1e-2
    for name, found in carried(model).items():
        key = name.removeprefix("state/")
        np.testing.assert_allclose(
            found, np.concatenate([cache[key] for cache in caches]), atol=2e-6
        )


def test_each_pass_begins_with_zeros():
    """After a pass of two steps, with a learning rate of 0, everything repeats; without `pass_steps` it does not."""
    states = {}
    for pass_steps in (0, 2):
        model = build(
            LSTMConfig(**SIZES), optimizer=keras.optimizers.SGD(0.0), pass_steps=pass_steps
        )
        fit(model, steps=2)
        states[pass_steps] = carried(model)
        fit(model, steps=2)
        again = carried(model)
        distance = gap(states[pass_steps].values(), again.values())
        assert distance == 0 if pass_steps else distance > 1e-3
    assert gap(states[0].values(), states[2].values()) == 0


AWD = {
    "dropout": 0.2,
    "variational_dropout": True,
    "embedding_dropout": 0.1,
    "recurrent_dropout": 0.2,
    "weight_drop": 0.2,
    "activation_regularization": 1.0,
    "temporal_activation_regularization": 1.0,
}


@pytest.mark.slow
def test_dropout_of_every_kind_and_less_memory():
    """Masks are drawn for each window, and rematerialization and chunks draw the same ones."""
    weights, states = [], []
    for options in ({}, {"remat": True, "loss_chunk_tokens": 7}):
        model = build(LSTMConfig(**SIZES, **AWD), **options)
        weights.append(fit(model))
        states.append(carried(model))
    assert gap(*weights) < 1e-5 and gap(states[0].values(), states[1].values()) < 1e-5
    assert gap(fit(build(LSTMConfig(**SIZES))), weights[0]) > 1e-2


@pytest.fixture(scope="module")
def one_device():
    model = build(RNNConfig(**SIZES), clip_norm=0.1, ema_decay=0.5, pass_steps=3)
    return fit(model), carried(model), model.evaluate(IDS, TARGETS, batch_size=4)


@pytest.mark.parametrize(
    "name,micro",
    slow_but([("single", 2), ("mirrored", 1), ("mirrored", 2)], ("mirrored", 2)),
)
def test_replicas_micro_batches_and_xla_do_not_change_the_answer(one_device, name, micro):
    weights, states, scores = one_device
    xla = (name, micro) != ("mirrored", 2)
    model = build(
        RNNConfig(**SIZES),
        name,
        clip_norm=0.1,
        ema_decay=0.5,
        pass_steps=3,
        micro_batches=micro,
        xla=xla,
    )
    assert gap(fit(model), weights) < 1e-5
    found = carried(model)
    assert {key: value.shape for key, value in found.items()} == {"state/state_h_0": (4, 6)}
    assert gap(found.values(), states.values()) < 1e-5
    assert model.evaluate(IDS, TARGETS, batch_size=4) == pytest.approx(scores, rel=1e-6)


def test_a_state_of_one_device_goes_on_under_two_replicas_and_back(one_device):
    _, states, _ = one_device
    model = build(RNNConfig(**SIZES), "mirrored")
    variable = model.train_step_runner.state()["state/state_h_0"]
    variable.assign(states["state/state_h_0"])
    assert [part.shape[0] for part in variable.parts] == [2, 2]
    np.testing.assert_array_equal(variable.numpy(), states["state/state_h_0"])


@pytest.mark.parametrize("chunk", [0, 7])
def test_a_stateful_teacher_reads_the_same_streams(chunk):
    """A teacher with the student's weights teaches nothing, as long as both carry the same state."""
    teacher = {"weight": 1.0, "temperature": 1.0}
    model = build(LSTMConfig(**SIZES), teacher=teacher, loss_chunk_tokens=chunk)
    before = model.network.get_weights()
    assert gap(fit(model), before) < 1e-5
    state = model.train_step_runner.state()
    assert np.abs(state["teacher_state/state_c_0"].numpy()).max() > 1e-2


# A run.

MODEL = LSTMConfig(sequence_length=8, embedding_dim=6, hidden_dim=8, dropout=0.1, stateful=True)
TRAIN = TrainConfig(
    steps=12,
    global_batch_size=4,
    warmup_steps=2,
    validate_every=6,
    checkpoint_every=3,
    log_every=4,
    xla="off",
    tensorboard=False,
    learning_rate=1e-2,
    ema_decay=0.5,
)


def documents(count, seed):
    """A letter, another one by which it is known, four tokens that are always the same, and the letter again."""
    draw = random.Random(seed)
    return "\n".join(
        f"{letter}{letter.upper()}1234{letter}" for letter in draw.choices("ab", k=count)
    )


@pytest.fixture(scope="module")
def make_data(tmp_path_factory):
    def make(count):
        folder = tmp_path_factory.mktemp("letters")
        (folder / "train.txt").write_text(documents(count, 0))
        (folder / "valid.txt").write_text(documents(70, 1))
        prepare(
            PrepareConfig(
                text=[str(folder / "train.txt")],
                validation_text=[str(folder / "valid.txt")],
                test_fraction=0.0,
                documents="line",
                tokenizer="char",
                vocabulary_size=300,
                shards=2,
                processes=1,
                output=str(folder / "data"),
            ),
            progress=False,
        )
        return str(folder / "data")

    return make


@pytest.fixture(scope="module")
def data(make_data):
    """5 steps a pass, so that a run of 12 begins anew twice."""
    return make_data(22)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("run") / "run")
    with pytest.MonkeyPatch.context() as patch:
        # The validation split has 560 tokens: five streams of 112.
        patch.setattr("tfscale.text.score.STREAM_TOKENS", 100)
        return output, train(MODEL, TRAIN, data=data, output=output, progress=False)


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit_with_its_state(finished, data, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    class Dies(RunRecorder):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if int(self.runner.step.numpy()) == 8:
                raise Killed

    assert Reading(data, Manifest.load(data), MODEL, TRAIN).epoch_steps == 5
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", Dies)
    output = str(tmp_path / "run")
    with pytest.raises(Killed):
        train(
            MODEL, dataclasses.replace(TRAIN, log_every=1), data=data, output=output, progress=False
        )
    monkeypatch.setattr("tfscale.runs.train.RunRecorder", RunRecorder)
    assert train(MODEL, TRAIN, data=data, output=output, progress=False)["steps"] == 12
    whole, resumed = (
        read_arrays(f"{folder}/checkpoints/step-00000012.npz")[0]
        for folder in (finished[0], output)
    )
    assert whole.keys() == resumed.keys() >= {"state/state_h_0", "state/state_c_0"}
    assert whole["state/state_h_0"].shape == (4, 8) and np.abs(whole["state/state_h_0"]).min() > 0
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def nll_by_hand(network, stream, starts, end_id):
    """In float64, each stream read in one go."""
    weights = {
        "tokens": network.token_embedding.embeddings,
        "softmax": network.output_layer.kernel,
        "softmax_bias": network.output_layer.bias,
    }
    for i, layer in enumerate(network.recurrent_layers):
        cell = layer.cell
        weights |= {
            f"{i}.kernel": cell.kernel,
            f"{i}.recurrent": cell.recurrent_kernel,
            f"{i}.bias": cell.bias,
        }
    weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    inputs, nll = np.array([end_id, *stream[:-1]]), 0.0
    for start, end in zip(starts, [*starts[1:], len(stream)], strict=True):
        logits = numpy_reference.lstm(weights, inputs[start:end], network.config.num_layers)
        nll -= np.log(
            numpy_reference.softmax(logits)[np.arange(end - start), stream[start:end]]
        ).sum()
    return nll


def test_validation_evaluate_and_the_file_read_the_same_streams(
    finished, data, tmp_path, monkeypatch
):
    monkeypatch.setattr("tfscale.text.score.STREAM_TOKENS", 100)
    output, summary = finished
    run = load_run(output)
    # Weights that make the state matter, for all but the run's own validation.
    stream, end_id = split_stream(data, "validation"), run.tokenizer.end_id
    assert len(stream) == 560 and stream_starts(560) == [0, 112, 224, 336, 448]
    expected = nll_by_hand(run.network, stream, stream_starts(560), end_id) / 560
    assert summary["validation"]["nll_per_token"] == pytest.approx(expected, rel=1e-6)
    assert evaluate_run(run)["nll_per_token"] == pytest.approx(expected, rel=1e-6)
    run.network.set_weights([4 * weight for weight in run.network.get_weights()])
    expected = nll_by_hand(run.network, stream, stream_starts(560), end_id)
    assert evaluate_run(run)["nll_per_token"] == pytest.approx(expected / 560, rel=1e-5)
    for other in (range(0, 560, 8), [0]):
        assert abs(nll_by_hand(run.network, stream, list(other), end_id) / expected - 1) > 1e-4
    decoder = KerasDecoder(run.network)
    decoder.vocabulary_size = run.network.config.vocabulary_size
    file = DeviceModel(
        "model.tflite",
        decoder,
        run.tokenizer,
        Description(model=run.network.get_config()["config"]),
        1,
    )
    assert evaluate_file(file, data, progress=False)["nll_per_token"] == pytest.approx(
        expected / 560, rel=1e-5
    )
    # A text, and documents each by itself.
    path = tmp_path / "text.txt"
    path.write_text(documents(20, 2))
    stream, _ = text_stream(run.tokenizer, [str(path)])
    assert len(stream) == 160
    expected = nll_by_hand(run.network, stream, [0], end_id)
    for result in (
        evaluate_run(run, text_files=[str(path)]),
        evaluate_file(file, None, text_files=[str(path)]),
    ):
        assert result["nll_per_token"] == pytest.approx(expected / 160, rel=1e-5)
    [(nll, tokens), _] = document_scores(run, [path.read_text(), "aA1"])
    assert (nll, tokens) == (pytest.approx(expected, rel=1e-5), 160)
    assert file.score(path.read_text()).nll == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_what_is_further_back_than_a_window_is_learned_with_the_state_alone(make_data, tmp_path):
    """The last letter of a document is known from its first two, which no window of 4 has beside it."""
    data = make_data(1999)
    nats = {}
    for stateful in (True, False):
        config = RNNConfig(sequence_length=4, embedding_dim=16, hidden_dim=32, stateful=stateful)
        options = dataclasses.replace(
            TRAIN,
            steps=300,
            global_batch_size=32,
            learning_rate=0.02,
            warmup_steps=5,
            validate_every=300,
            checkpoint_every=300,
            log_every=100,
            ema_decay=0.0,
        )
        summary = train(
            config, options, data=data, output=str(tmp_path / str(stateful)), progress=False
        )
        nats[stateful] = 8 * summary["validation"]["nll_per_token"]
    # A document has 8 tokens and one free choice of two; who does not know the last letter guesses twice.
    assert nats[True] < 0.85 and nats[False] > 1.9 * np.log(2)


# Refusals.


def test_network_and_streams_must_agree():
    for stateful, streams in ((True, 0), (False, 4)):
        model = LanguageModel(build_network(LSTMConfig(**SIZES | {"stateful": stateful})))
        with pytest.raises(
            ConfigError,
            match=rf"compile\(streams={streams}\) .*\(stateful={stateful}\) do not agree",
        ):
            model.compile(streams=streams)
    with pytest.raises(
        ConfigError, match="batch size 5 is not divisible by replicas x micro_batches = 1 x 2"
    ):
        LanguageModel(build_network(LSTMConfig(**SIZES))).compile(streams=5, micro_batches=2)


def test_batches_must_be_the_streams():
    model = build(RNNConfig(**SIZES))
    with pytest.raises(ConfigError, match="carries the state of 4 rows; the batches have 8"):
        model.fit(IDS, TARGETS, batch_size=8, shuffle=False, verbose=0)
    with pytest.raises(ConfigError, match="give shuffle=False"):
        model.fit(IDS, TARGETS, batch_size=4, verbose=0)


@pytest.mark.parametrize("name", ["single", "mirrored"])
def test_an_evaluation_of_windows_that_do_not_go_on_is_refused(name):
    """A stateful network would get a number that nothing else gives."""
    model = build(RNNConfig(**SIZES), name)
    weights = np.ones(TARGETS.shape, "float32")
    expected = model.evaluate(IDS, TARGETS, batch_size=4)
    assert expected["tokens"] == 80
    # A row that has ended may hold anything, and after it another stream may begin.
    ids = IDS.copy()
    ids[8 + 1], weights[8 + 1] = 7, 0
    assert model.evaluate(ids, TARGETS, batch_size=4, sample_weight=weights)["tokens"] == 75
    ids[8 + 2, 0] = (ids[8 + 2, 0] + 1) % 20
    with pytest.raises(
        DataError, match="batch 3 does not go on where batch 2 stopped: in 1 of its rows"
    ):
        model.evaluate(ids, TARGETS, batch_size=4, sample_weight=weights)
    windows = np.lib.stride_tricks.sliding_window_view(STREAMS[0], 5)
    dataset = tf.data.Dataset.from_tensor_slices((windows[:8:2], windows[1:9:2])).batch(2)
    with pytest.raises(
        DataError, match="in 2 of its rows .* reads the streams of tfscale.data.streams"
    ):
        evaluate_network(model.network, dataset, strategy=model.strategy)


@pytest.mark.parametrize(
    "name", ["TPUStrategy", "MultiWorkerMirroredStrategy", "ParameterServerStrategy"]
)
def test_strategies_that_cannot_carry(name):
    kind = getattr(tf.distribute, name)
    with pytest.raises(
        ConfigError, match=f"not under {kind.__name__}; give --train.strategy single or mirrored"
    ):
        check_carries(kind.__new__(kind))


def test_a_run_that_cannot_be_is_refused_before_it_begins(data, tmp_path):
    output = tmp_path / "run"
    with pytest.raises(ConfigError, match="train.shuffle_windows=100, but model.stateful=True"):
        train(
            MODEL,
            dataclasses.replace(TRAIN, shuffle_windows=100),
            data=data,
            output=str(output),
            progress=False,
        )
    assert not output.exists()
    with pytest.raises(ConfigError, match="not trained on a TPU"):
        tpu_check(dataclasses.replace(MODEL, vocabulary_size=20), TRAIN, ["v5e:2x2"])


def test_the_option_cannot_change_on_the_way(finished, data):
    with pytest.raises(ConfigError, match="begun with model.stateful=True, now it is False"):
        train(
            dataclasses.replace(MODEL, stateful=False),
            TRAIN,
            data=data,
            output=finished[0],
            progress=False,
        )


def test_a_step_is_timed_on_streams(data):
    vocabulary = Manifest.load(data).vocabulary_size
    config = dataclasses.replace(MODEL, vocabulary_size=vocabulary)
    assert seconds_per_step(data, config, dataclasses.replace(TRAIN, log_every=2), steps=2) > 0
