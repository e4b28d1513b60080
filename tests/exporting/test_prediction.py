"""Classifiers and other models as files with `predict`: what they give beside stock Keras, and what is refused."""

import re

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import tfscale
import tfscale.device
from tests.slow import slow_but
from tfscale.errors import ConfigError, DataError, ExportError
from tfscale.exporting import prediction
from tfscale.text.tokenizers import train_tokenizer

LAYERS = keras.layers
T, V, N = 10, 40, 24
RNG = np.random.default_rng(0)
IDS = RNG.integers(1, V, (N, T)).astype("int32")
for place in range(N):
    IDS[place, T - place % 8 :] = 0  # padding of 0 to 7 ids
IMAGES = RNG.integers(0, 256, (N, 10, 10, 3)).astype("uint8")
ROWS = RNG.normal(size=(N, 6)).astype("float32")


def text_model(*layers, mask=True):
    ids = x = keras.Input((T,), dtype="int32")
    for layer in (LAYERS.Embedding(V, 8, mask_zero=mask), *layers):
        x = layer(x)
    return keras.Model(ids, x)


def attention():
    ids = keras.Input((T,), dtype="int32")
    x = LAYERS.Embedding(V, 8, mask_zero=True)(ids)
    x = LAYERS.LayerNormalization()(x + LAYERS.MultiHeadAttention(2, 4)(x, x))
    return keras.Model(ids, LAYERS.Dense(3, "softmax")(LAYERS.GlobalAveragePooling1D()(x)))


KINDS = {
    "bilstm": lambda: text_model(
        LAYERS.Bidirectional(LAYERS.LSTM(8)), LAYERS.Dropout(0.5), LAYERS.Dense(1, "sigmoid")
    ),
    "fused lstm": lambda: text_model(
        LAYERS.Bidirectional(LAYERS.LSTM(8)), LAYERS.Dense(3, "softmax"), mask=False
    ),
    "gru": lambda: text_model(LAYERS.GRU(8), LAYERS.Dense(3)),
    "mean": lambda: text_model(LAYERS.GlobalAveragePooling1D(), LAYERS.Dense(3, "softmax")),
    "attention": attention,
    "encoder": lambda: text_model(
        keras_hub.layers.TransformerEncoder(16, 2),
        LAYERS.GlobalAveragePooling1D(),
        LAYERS.Dense(3, "softmax"),
    ),
    "cnn": lambda: keras.Sequential(
        [
            keras.Input((10, 10, 3)),
            LAYERS.Rescaling(1 / 255),
            LAYERS.Conv2D(8, 3, padding="same"),
            LAYERS.BatchNormalization(),
            LAYERS.ReLU(),
            LAYERS.DepthwiseConv2D(3),
            LAYERS.SeparableConv2D(8, 3),
            LAYERS.Conv2DTranspose(4, 2),
            LAYERS.GlobalAveragePooling2D(),
            LAYERS.Dense(4, "softmax"),
        ]
    ),
    "regression": lambda: keras.Sequential(
        [
            keras.Input((6,)),
            LAYERS.Dense(16, "gelu"),
            LAYERS.BatchNormalization(),
            LAYERS.Dense(1),
        ]
    ),
}


def build(kind):
    keras.utils.set_random_seed(4)
    network = KINDS[kind]()
    # Weights at which rounding and masks matter; moving averages are not those of a fresh layer.
    for weight in network.weights:
        if "moving" in weight.path:
            weight.assign(RNG.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) > 1:
            weight.assign(weight * 2)
    return network


def samples_of(kind):
    return {"cnn": IMAGES, "regression": ROWS}.get(kind, IDS)


def export(network, tmp_path, **options):
    return tfscale.export_keras(network, output=str(tmp_path / "x"), **options)


def load(tmp_path):
    return tfscale.device.load(str(tmp_path / "x"))


def test_a_model_without_weights(tmp_path):
    ids = keras.Input((T,), dtype="int32")
    network = keras.Model(ids, keras.ops.sum(keras.ops.one_hot(ids, V), axis=1))
    samples = IDS[:, :T]
    for quantize in ("none", "int8"):
        assert export(network, tmp_path, samples=samples, quantize=quantize)["passed"]
        found = load(tmp_path).predict(samples)["output"]
        np.testing.assert_array_equal(found, [np.bincount(row, minlength=V) for row in samples])
    assert "of the weights" not in (tmp_path / "x" / "report.html").read_text()


@pytest.mark.parametrize(
    "kind", slow_but(list(KINDS), "fused lstm", "attention", "cnn", "regression")
)
def test_a_file_gives_what_keras_predicts(kind, tmp_path):
    network, samples = build(kind), samples_of(kind)
    expected = network.predict(samples, verbose=0)
    assert export(network, tmp_path, samples=samples)["passed"]
    model = load(tmp_path)
    np.testing.assert_allclose(model.predict(samples)["output"], expected, atol=1e-5)
    np.testing.assert_allclose(model.predict(samples[:1])["output"], expected[:1], atol=1e-5)
    report = export(network, tmp_path, samples=samples, quantize="int8")
    names = {name for counts in report["operations"].values() for name in counts}
    assert not any(name.startswith("Flex") for name in names)
    assert ("UNIDIRECTIONAL_SEQUENCE_LSTM" in names) == (kind == "fused lstm")
    [copy] = [row for row in report["checks"] if row["name"] == "relative_error (float32 copy)"]
    # A mask or a layer of one's own leaves open how the file rounds.
    if kind in ("bilstm", "encoder"):
        assert copy["passed"] and copy["limit"] > 0.01
    else:
        assert copy["value"] < 1e-5 and copy["limit"] == 2e-3
    error = np.abs(load(tmp_path).predict(samples)["output"] - expected)
    assert 1e-6 < error.max() < 0.1 * max(1, expected.std())


@pytest.mark.parametrize("kind", ["gru", "cnn"])
def test_float16(kind, tmp_path):
    network, samples = build(kind), samples_of(kind)
    report = export(network, tmp_path, samples=samples, quantize="float16")
    assert {row["limit"] for row in report["checks"] if row["name"].startswith("rel")} == {0.005}
    found = load(tmp_path).predict(samples)["output"]
    np.testing.assert_allclose(found, network.predict(samples, verbose=0), atol=2e-3)


class TwoHeads(keras.Model):
    """A subclass: neither names nor shapes are declared."""

    def __init__(self):
        super().__init__()
        self.table, self.topic, self.stars = (
            LAYERS.Embedding(V, 8),
            LAYERS.Dense(3),
            LAYERS.Dense(1),
        )

    def call(self, inputs):
        x = keras.ops.mean(self.table(inputs["ids"]), axis=1)
        x = keras.ops.concatenate([x, inputs["numbers"]], axis=-1)
        return {"topic": keras.ops.softmax(self.topic(x)), "stars": self.stars(x)}


def test_named_inputs_and_outputs_with_a_batch_of_rows(tmp_path):
    keras.utils.set_random_seed(1)
    network, inputs = TwoHeads(), {"ids": IDS.astype("int64"), "numbers": ROWS.astype("float64")}
    expected = {name: value.numpy() for name, value in network(inputs).items()}
    targets = {"topic": np.arange(N) % 3, "stars": ROWS[:, :1]}
    report = export(
        network,
        tmp_path,
        samples=inputs,
        targets=targets,
        labels={"topic": ["a", "b", "c"]},
        batch_size=7,
    )
    model = load(tmp_path)
    assert [(t.name, t.shape, t.dtype) for t in model.signature.inputs] == [
        ("ids", [7, T], "int32"),
        ("numbers", [7, 6], "float32"),
    ]
    found = model.predict(inputs)
    assert set(found) == {"topic", "stars"}
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-5)
    # By hand: the share of right classes, the mean of squares.
    right = (expected["topic"].argmax(-1) == np.arange(N) % 3).mean()
    assert report["quality"]["topic"]["accuracy"]["keras"] == pytest.approx(right)
    squares = np.square(expected["stars"] - ROWS[:, :1]).mean()
    assert report["quality"]["stars"]["mean_squared_error"]["file"] == pytest.approx(squares, 1e-4)
    row = model.classify(inputs)[3]
    best = "abc"[expected["topic"][3].argmax()]
    assert row["topic"]["label"] == best and row["stars"] == pytest.approx(expected["stars"][3])
    assert row["topic"]["probability"] == pytest.approx(float(expected["topic"][3].max()), 1e-4)
    with pytest.raises(DataError, match="the inputs are ids, numbers; received ids"):
        model.predict({"ids": IDS})


def test_names_that_somebody_chose_are_kept(tmp_path):
    left, right = keras.Input((6,), name="left side"), keras.Input((6,))
    both = LAYERS.Concatenate()([left, right])
    network = keras.Model(
        [left, right], [LAYERS.Dense(2, name="logits")(both), LAYERS.Dense(1)(both)]
    )
    export(network, tmp_path, samples=(ROWS, ROWS))
    signature = load(tmp_path).signature
    assert [tensor.name for tensor in signature.inputs] == ["left_side", "input_1"]
    assert [tensor.name for tensor in signature.outputs] == ["logits", "output_1"]


def test_a_dataset_gives_rows_and_targets(tmp_path):
    network = build("mean")
    right = network.predict(IDS, verbose=0).argmax(-1)
    right[:6] = (right[:6] + 1) % 3
    dataset = tf.data.Dataset.from_tensor_slices((IDS, right)).batch(5)
    report = export(network, tmp_path, samples=dataset, labels=["a", "b", "c"])
    assert report["compared_on"] == {"source": "the dataset that was given", "examples": N}
    assert report["quality"]["output"]["accuracy"] == {"keras": 0.75, "file": 0.75}
    assert [row["label"] for row in load(tmp_path).classify(IDS)[6:]] == [
        "abc"[place] for place in right[6:]
    ]


def test_logits_become_probabilities(tmp_path):
    network = build("gru")
    export(network, tmp_path, samples=IDS, labels=["a", "b", "c"])
    logits = network.predict(IDS, verbose=0).astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    rows = load(tmp_path).classify(IDS)
    found = [[*row["probabilities"].values()] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_averaged_weights_of_a_trained_model_are_taken(tmp_path):
    """The network of a LanguageModel, seen as a model of arrays, so that its values can be compared."""
    network = keras.Sequential(
        [keras.Input((T,), dtype="int32"), LAYERS.Embedding(V, 8), LAYERS.Dense(V)]
    )
    model = tfscale.LanguageModel(network)
    model.compile(keras.optimizers.SGD(1.0), ema_decay=0.9, xla=False)
    model.fit(IDS, np.roll(IDS, -1, axis=1), epochs=2, batch_size=8, verbose=0)
    trained = np.asarray(network(IDS))
    with model.averaged_weights():
        expected = np.asarray(network(IDS))
    export(model, tmp_path, samples=IDS)
    found = load(tmp_path).predict(IDS)["output"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - trained).max() > 1e-3
    np.testing.assert_array_equal(np.asarray(network(IDS)), trained)


def test_mixed_precision_is_written_in_float32(tmp_path):
    plain = build("mean")
    mixed = keras.Sequential(
        [
            keras.Input((T,), dtype="int32"),
            LAYERS.Embedding(V, 8, mask_zero=True, dtype="mixed_bfloat16"),
            LAYERS.GlobalAveragePooling1D(dtype="mixed_bfloat16"),
            LAYERS.Dense(3, "softmax", dtype="mixed_bfloat16"),
        ]
    )
    mixed.set_weights(plain.get_weights())
    export(mixed, tmp_path, samples=IDS)
    found = load(tmp_path).predict(IDS)["output"]
    np.testing.assert_allclose(found, plain.predict(IDS, verbose=0), atol=1e-5)


def test_a_text_classifier_takes_text(tmp_path):
    tokenizer = train_tokenizer("byte", [], 257)
    texts = [
        "a fine film",
        "bad",
        "I liked it",
        "no no no no no no",
        "so so",
        "dull and long, it was",
    ]
    ids = [tokenizer.encode(text) for text in texts]
    rows = keras.utils.pad_sequences(ids, maxlen=12)  # Keras's default: zeros before, the end kept
    network = keras.Sequential(
        [
            keras.Input((12,), dtype="int32"),
            LAYERS.Embedding(257, 8, mask_zero=True),
            LAYERS.GlobalAveragePooling1D(),
            LAYERS.Dense(1, "sigmoid"),
        ]
    )
    options = {"samples": rows, "tokenizer": tokenizer, "labels": ["bad", "good"]}
    export(network, tmp_path, texts=texts, **options)
    expected = network.predict(rows, verbose=0)[:, 0]
    model = load(tmp_path)
    np.testing.assert_allclose(model.predict(texts)["output"][:, 0], expected, atol=1e-6)
    one = tfscale.predict(str(tmp_path / "x"), text=texts[0])[0]
    assert one["probabilities"]["good"] == pytest.approx(float(expected[0]), abs=1e-6)
    assert re.fullmatch(r"(good|bad) 0\.\d+", str(one))
    with pytest.raises(ConfigError, match="the text is empty"):
        model.predict_text(" ")
    wrong = [*texts[1:], texts[0]]
    with pytest.raises(ConfigError, match=r"text 0 \('bad'\) does not give row 0"):
        export(network, tmp_path, texts=wrong, **options)
    with pytest.raises(ConfigError, match="received 0 texts for 6 samples and a tokenizer"):
        export(network, tmp_path, **options)


def test_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    network = build("mean")
    export(network, tmp_path, samples=IDS, labels=["a", "b", "c"], targets=np.arange(N) % 3)
    folder = tmp_path / "x"
    text = (folder / "README.md").read_text()
    assert "`input` | int32 (1, 10)" in text and "Accuracy |" in text
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})
    expected = network.predict(np.ones((1, T), "int32"), verbose=0)[0]
    printed = capsys.readouterr().out
    first = [float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", printed)[:3]]
    np.testing.assert_allclose(first, expected, atol=1e-5)
    assert printed.count("[[") == 2 and re.search(r"^[abc] 0\.\d+$", printed, re.MULTILINE)
    page = (folder / "report.html").read_text()
    assert "Accuracy of output, keras" in page and "24 rows of the samples" in page


@pytest.mark.parametrize("noise, finds", [(0.3, r"\(xnnpack\)"), (3e-4, r"\(float32 copy\)")])
def test_a_file_that_computes_something_else_is_not_written(noise, finds, tmp_path, monkeypatch):
    other = build("mean")
    other.set_weights(
        [weight + noise * RNG.normal(size=weight.shape) for weight in other.get_weights()]
    )
    original = prediction.prediction_file
    monkeypatch.setattr(
        prediction, "prediction_file", lambda network, *rest: original(other, *rest)
    )
    with pytest.raises(
        ExportError, match=f"fails its parity check: .*{finds}.*nothing was written"
    ):
        export(build("mean"), tmp_path, samples=IDS, quantize="int8")
    assert not list(tmp_path.iterdir())


class OwnVariable(keras.Model):
    def __init__(self):
        super().__init__()
        self.table, self.out = tf.Variable(tf.ones((6, 2))), LAYERS.Dense(2)

    def call(self, x):
        return self.out(x @ self.table)


def own_variable():
    network = OwnVariable()
    network(ROWS)
    return network


def of_strings():
    words = LAYERS.TextVectorization(vocabulary=["a", "b"], output_sequence_length=3)
    return keras.Sequential([keras.Input((1,), dtype="string"), words, LAYERS.Embedding(4, 2)])


def stateful():
    return keras.Sequential(
        [keras.Input(batch_shape=(1, T, 6)), LAYERS.LSTM(4, stateful=True), LAYERS.Dense(1)]
    )


def with_argmax():
    numbers = keras.Input((6,))
    return keras.Model(numbers, keras.ops.argmax(LAYERS.Dense(4)(numbers), axis=-1))


def with_lookup():
    ids = keras.Input((1,), dtype="int32")
    found = LAYERS.IntegerLookup(vocabulary=[3, 5, 7])(ids)
    return keras.Model(ids, LAYERS.Embedding(9, 3)(found))


def with_hashing():
    ids = keras.Input((1,), dtype="int32")
    return keras.Model(ids, LAYERS.Embedding(5, 3)(LAYERS.Hashing(5)(ids)))


MISTAKES = {
    "argmax": (with_argmax, {"samples": ROWS}, "BitwiseAnd; keras.ops.argmax makes it: take keras"),
    "lookup": (with_lookup, {"samples": np.array([[3], [5]])}, "and IntegerLookup are such tables"),
    "hashing": (with_hashing, {"samples": np.array([[3], [5]])}, "Hashing makes it: hash outside"),
    "strings": (of_strings, {"samples": np.array([["a b"]])}, "is of text, which no file"),
    "stateful": (stateful, {"samples": np.ones((2, T, 6))}, "is stateful, and a file starts each"),
    "own variable": (own_variable, {"samples": ROWS}, "not a weight of a Keras layer"),
    "never called": (
        lambda: keras.Sequential([LAYERS.Dense(2)]),
        {"samples": ROWS},
        "has no weights yet: it was never called",
    ),
    "shape": (
        lambda: build("mean"),
        {"samples": IDS[:, :8]},
        r"has shape \(None, 10\), and the sa",
    ),
    "ids": (lambda: build("mean"), {"samples": IDS + V}, "cannot be called with the samples .*4"),
    "two arrays": (
        lambda: build("mean"),
        {"samples": (IDS, ROWS)},
        "has 1 input, and samples has 2 arrays; .* goes to targets=",
    ),
    "no arrays": (lambda: build("mean"), {"samples": [[1, 2]]}, "must be an array"),
    "not finite": (lambda: build("regression"), {"samples": ROWS * np.nan}, "not finite"),
    "labels": (
        lambda: build("mean"),
        {"samples": IDS, "labels": ["a", "b"]},
        "tells 3 classes apart, and there are 2 labels",
    ),
    "labels of numbers": (
        lambda: keras.Sequential([keras.Input((T, 6)), LAYERS.Dense(2)]),
        {"samples": np.ones((2, T, 6)), "labels": ["a", "b"]},
        "labels are for outputs of classes",
    ),
    "targets": (
        lambda: build("mean"),
        {"samples": IDS, "targets": np.arange(N)},
        "go up to 23, and it tells 3 classes apart",
    ),
    "softmax of one": (
        lambda: keras.Sequential([keras.Input((6,)), LAYERS.Dense(1, "softmax")]),
        {"samples": ROWS},
        "a softmax of one value, which is always 1",
    ),
    "both kinds": (
        lambda: build("mean"),
        {"samples": IDS, "held_out": [1], "sequence_length": T},
        "sequence_length, held_out: for a language model",
    ),
    "neither": (lambda: build("mean"), {}, "held_out=.*language model; samples="),
    "labels of a language model": (
        lambda: build("mean"),
        {"held_out": [1], "sequence_length": T, "labels": ["a"]},
        "labels: for a model that is given with samples=",
    ),
    "logits without samples": (
        lambda: build("gru"),
        {"held_out": [1, 2], "sequence_length": T, "end_id": 0},
        "exported with samples=",
    ),
    "batch": (
        lambda: keras.Sequential([keras.Input(batch_shape=(4, 6)), LAYERS.Dense(1)]),
        {"samples": ROWS, "batch_size": 2},
        "is built for batches of 4",
    ),
}


# Keras says of the softmax of one value what we refuse.
@pytest.mark.filterwarnings("ignore:(?s).*softmax over axis")
@pytest.mark.parametrize("kind", MISTAKES)
def test_mistakes_are_one_line(kind, tmp_path):
    make, options, message = MISTAKES[kind]
    with pytest.raises((ConfigError, DataError, ExportError), match=message) as raised:
        export(make(), tmp_path, **options)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    assert not list(tmp_path.iterdir())


def test_what_is_asked_of_such_a_file(tmp_path):
    export(build("mean"), tmp_path, samples=IDS)
    path = str(tmp_path / "x")
    opened, model = tfscale.open(path), load(tmp_path)
    assert opened.predict(IDS[:2])[1]["output"] == pytest.approx(
        model.predict(IDS)["output"][1].tolist()
    )
    for ask, message in (
        (
            lambda: tfscale.predict(path, text="a"),
            r"takes arrays and no text: input int32 \(N, 10\)",
        ),
        (lambda: tfscale.generate(path, prompt="a"), "no language model"),
        (lambda: model.classify(IDS), "has no labels"),
        (lambda: model.predict(IDS[0]), r"for one row give x\[None\]"),
        (lambda: model.predict(IDS + 0.5), "values that do not fit it"),
        (lambda: opened.predict(file="a"), "takes a text or arrays"),
    ):
        with pytest.raises((ConfigError, DataError), match=message):
            ask()
