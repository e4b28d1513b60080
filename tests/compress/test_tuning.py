"""Training for a recipe and from a teacher: by hand, whatever the step is cut into, and as runs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from benchmarks.equivalence_worker import make_windows
from tests.training.tiny import CONFIGS
from tfscale import cli
from tfscale.compress import distill, quantize_aware
from tfscale.compress.compress import compress_run
from tfscale.compress.tuning import distill_run
from tfscale.config import ExportConfig, LSTMConfig, PrepareConfig, TrainConfig, TransformerConfig
from tfscale.config.compression import CompressConfig, DistillConfig
from tfscale.data.prepare import prepare
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, TokenizerError
from tfscale.exporting.export import export_run
from tfscale.models import build_network
from tfscale.models.weight_formats import fake_quantize, weight_formats
from tfscale.runs.folder import load_run
from tfscale.runs.train import train
from tfscale.training.distillation import Teacher
from tfscale.training.language_model import LanguageModel

WAYS = {
    "whole": {"xla": False},
    "XLA, chunks, remat, 4 micro-batches": {
        "xla": True,
        "loss_chunk_tokens": 40,
        "remat": True,
        "micro_batches": 4,
    },
    "mirrored, 2 micro-batches": {"xla": False, "micro_batches": 2},
}


def batches():
    return tf.data.Dataset.from_tensor_slices(make_windows(64)).batch(16).repeat()


def trained(way, tune, family="transformer", steps=3):
    where = strategy("mirrored") if way.startswith("mirrored") else tf.distribute.get_strategy()
    with where.scope():
        model = LanguageModel(build_network(CONFIGS[family], seed=1))
        tune(model)
        model.compile(keras.optimizers.SGD(0.5), clip_norm=0.0, **WAYS[way])
    model.fit(batches(), steps_per_epoch=steps, verbose=0)
    return model


def arrays(model):
    return [np.asarray(weight.numpy()) for weight in model.network.weights]


def test_the_gradient_is_taken_at_the_rounded_weights():
    model = trained("whole", lambda model: quantize_aware(model, "int4"), steps=1)
    network = build_network(CONFIGS["transformer"], seed=1)
    formats = weight_formats(network, "int4")
    assert {form.bits for form in formats.values()} == {4, 8, 32}
    before = [weight.numpy() for weight in network.weights]
    for weight in network.weights:
        if formats[weight.path].bits <= 8:
            weight.assign(fake_quantize(tf.convert_to_tensor(weight.value), formats[weight.path]))
    ids, targets, *_ = next(iter(batches()))
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=network(ids))
        loss = tf.reduce_mean(losses)
    gradients = tape.gradient(loss, [weight.value for weight in network.weights])
    for old, gradient, new in zip(before, gradients, arrays(model), strict=True):
        np.testing.assert_allclose(
            new, old - 0.5 * tf.convert_to_tensor(gradient).numpy(), atol=2e-6
        )


@pytest.mark.parametrize("family", ["transformer", pytest.param("lstm", marks=pytest.mark.slow)])
def test_rounding_and_teacher_in_every_way_of_taking_a_step(family):
    def tune(model):
        quantize_aware(model, "int4")
        distill(model, build_network(CONFIGS[family], seed=2), weight=0.7, temperature=1.5)

    expected, *others = (trained(way, tune, family) for way in WAYS)
    for found in others:
        check_alike(expected, found)


def check_alike(expected, found):
    for first, second in zip(arrays(expected), arrays(found), strict=True):
        # A weight on the edge of a step may be rounded to its other side.
        assert np.mean(np.abs(first - second) > 2e-5) < 0.01
    assert expected.evaluate(batches(), steps=2)["loss"] == pytest.approx(
        found.evaluate(batches(), steps=2)["loss"], rel=1e-3
    )


def test_validation_has_the_rounded_weights_and_training_goes_on_with_its_own():
    model = trained("whole", lambda model: quantize_aware(model, "int8"))
    own = arrays(model)
    formats = weight_formats(model.network, "int8")
    with model.averaged_weights():
        for weight, before in zip(model.network.weights, own, strict=True):
            form = formats[weight.path]
            expected = (
                fake_quantize(tf.constant(before), form).numpy() if form.bits == 8 else before
            )
            np.testing.assert_allclose(weight.numpy(), expected, atol=1e-7)
    for weight, before in zip(model.network.weights, own, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)


def test_the_divergence_by_hand():
    logits, taught = np.array([[0.0, 1.0, 3.0]]), np.array([[2.0, 0.0, 1.0]])

    def softmax(x):
        return np.exp(x) / np.exp(x).sum()

    p, q = softmax(taught / 2), softmax(logits / 2)
    expected = 0.25 * 7.0 + 0.75 * 4 * (p * np.log(p / q)).sum()
    teacher = Teacher(keras.Sequential(), weight=0.75, temperature=2.0)
    found = teacher.blend(tf.constant([7.0]), tf.constant(logits, tf.float32), tf.constant(taught))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_and_reports_its_own_loss():
    def tune(model):
        distill(model, build_network(CONFIGS["transformer"], seed=1), weight=1.0)

    model = trained("whole", tune)
    plain = build_network(CONFIGS["transformer"], seed=1)
    for weight, before in zip(model.network.weights, plain.weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), before.numpy(), atol=1e-6)
    assert model.history.history["loss"][0] == pytest.approx(np.log(50), rel=0.02)


def test_mistakes():
    model = LanguageModel(build_network(CONFIGS["transformer"]))
    with pytest.raises(ConfigError, match="the student predicts 50 tokens and its teacher 49"):
        distill(model, build_network(TransformerConfig(vocabulary_size=49, sequence_length=12)))
    with pytest.raises(ConfigError, match="distill.weight=1.5 is out of range"):
        distill(model, build_network(CONFIGS["transformer"]), weight=1.5)
    inputs = keras.Input((None,), dtype="int32")
    softmax = keras.layers.Dense(50, "softmax")(keras.layers.Embedding(50, 8)(inputs))
    with pytest.raises(
        ConfigError, match="model 'teacher' ends in softmax: it gives probabilities"
    ):
        distill(model, keras.Model(inputs, softmax, name="teacher"))
    with pytest.raises(ConfigError, match="no weight of .* is quantized by int8"):
        quantize_aware(
            LanguageModel(keras.Sequential([keras.Input((4,)), keras.layers.Rescaling(2.0)])),
            "int8",
        )
    model.compile("sgd")
    with pytest.raises(ConfigError, match="quantize_aware comes before compile"):
        quantize_aware(model, "int8")
    with pytest.raises(ConfigError, match=r"distill.teacher has no effect with distill.weight=0"):
        DistillConfig(teacher="run")
    with pytest.raises(
        ConfigError, match=r"distill.temperature has no effect with distill.weight=0"
    ):
        DistillConfig(temperature=4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/ and a trained Transformer in run/."""
    root = tmp_path_factory.mktemp("tuning")
    words = "the red cat ran and the old dog sat under a big blue mat".split()
    rng = np.random.default_rng(0)
    (root / "text.txt").write_text(
        "".join(" ".join(rng.choice(words, 9)) + ".\n" for _ in range(600))
    )
    for kind in ("byte", "char"):
        prepare(
            PrepareConfig(
                text=[str(root / "text.txt")],
                documents="line",
                tokenizer=kind,
                output=str(root / kind),
            ),
            progress=False,
        )
    model = TransformerConfig(sequence_length=16, hidden_dim=32, num_layers=1, num_heads=2)
    train(model, TRAIN, data=str(root / "byte"), output=str(root / "run"), progress=False)
    return root


TRAIN = TrainConfig(
    steps=60,
    global_batch_size=8,
    learning_rate=1e-2,
    warmup_steps=5,
    log_every=10,
    validate_every=30,
    checkpoint_every=10,
    tensorboard=False,
    xla="off",
)


@pytest.mark.slow
def test_a_run_tuned_for_int4_loses_nothing_in_the_file(folder):
    config = CompressConfig(
        output=str(folder / "int4"), steps=40, learning_rate=2e-3, quantize="int4_all"
    )
    summary = compress_run(
        str(folder / "run"), config, distill_config=DistillConfig(weight=0.5), progress=False
    )
    run = load_run(str(folder / "int4"))
    formats = weight_formats(run.network, "int4_all")
    for weight in run.network.weights:
        if formats[weight.path].bits <= 8:
            value = tf.convert_to_tensor(weight.value)
            np.testing.assert_allclose(fake_quantize(value, formats[weight.path]), value, atol=1e-7)
    report = export_run(
        run, ExportConfig(output=str(folder / "export"), quantize="int4_all", parity_tokens=200)
    )
    found = report["perplexity"]
    assert found["keras"] == pytest.approx(found["keras_rounded"], rel=1e-6)
    assert found["file"] == pytest.approx(found["keras"], rel=3e-3)
    untuned = export_run(
        load_run(str(folder / "run")),
        ExportConfig(output=str(folder / "untuned"), quantize="int4_all", parity_tokens=200),
    )
    assert found["file"] < untuned["perplexity"]["file"]
    assert summary["validation"]["perplexity"] < 1.02 * summary["validation_before"]["perplexity"]
    with pytest.raises(ConfigError, match=r"quantize.recipe='int4_all', now it is 'int8'"):
        compress_run(
            str(folder / "run"),
            CompressConfig(output=config.output, steps=40, learning_rate=2e-3, quantize="int8"),
            progress=False,
        )


@pytest.mark.slow
def test_a_student_of_another_family_by_the_command(folder, capsys):
    words = [
        "train",
        "--data",
        str(folder / "byte"),
        "--output",
        str(folder / "student"),
        "--model.family",
        "lstm",
        "--model.hidden_dim",
        "16",
        "--model.embedding_dim",
        "8",
        "--model.sequence_length",
        "16",
        "--train.steps",
        "20",
        "--train.global_batch_size",
        "8",
        "--train.xla",
        "off",
        "--distill.teacher",
        str(folder / "run"),
        "--distill.weight",
        "0.5",
        "--json",
    ]
    assert cli.main(words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["teacher"]["run"] == str(folder / "run") and result["steps"] == 20
    # Its config.yaml says the same again: the run goes on, and is done.
    assert (
        cli.main(
            ["train", str(folder / "student" / "config.yaml"), "--output", str(folder / "student")]
        )
        == 0
    )
    assert (
        cli.main(words[:-5] + ["--distill.weight", "0.4", "--distill.teacher", str(folder / "run")])
        == 2
    )
    assert "distill.weight=0.5, now it is 0.4" in capsys.readouterr().err


def test_teachers_that_do_not_fit(folder, capsys):
    student, teach = (
        LSTMConfig(sequence_length=16),
        DistillConfig(teacher=str(folder / "run"), weight=0.5),
    )
    with pytest.raises(TokenizerError, match="another tokenizer than that of the teacher"):
        distill_run(student, TRAIN, teach, data=str(folder / "char"), output=str(folder / "no"))
    with pytest.raises(
        ConfigError, match="reads at most 16 tokens, and the student's windows have"
    ):
        distill_run(
            LSTMConfig(sequence_length=17),
            TRAIN,
            teach,
            data=str(folder / "byte"),
            output=str(folder / "no"),
        )
    assert cli.main(["train", "--data", "d", "--output", "o", "--distill.weight", "0.5"]) == 2
    assert "needs distill.teacher" in capsys.readouterr().err
    assert not (folder / "no").exists()
