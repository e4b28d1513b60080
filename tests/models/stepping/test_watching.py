"""What is noted of a forward pass, and which layer is named where two passes differ."""

import keras
import numpy as np
from keras import layers

import tfscale
from tests.models.stepping import user_models as models
from tests.models.stepping.user_models import C, D, V
from tfscale.models.stepping.layer_step import LayerCall, step_of
from tfscale.models.stepping.watching import Suspect, first_that_looks_ahead, suspect, watched
from tfscale.registry import LAYER_STEPS

IDS = np.array([[3, 1, 4, 1, 5, 9, 2, 6]], "int32")


def forward(model):
    return lambda ids: model(ids, training=False)


def test_calls_are_noted_in_their_order_without_those_inside_of_a_step():
    model = models.randomized(models.SharedLayer())
    with watched(model) as calls:
        output = model(IDS)
    recurrent = model.recurrent
    assert [call.layer for call in calls] == [
        model.embedding,
        recurrent,
        recurrent,
        model.output_layer,
    ]
    assert [call.number for call in calls] == [0, 0, 1, 0]
    assert [call.step and call.step.name for call in calls] == [
        None,
        "recurrent",
        "recurrent",
        None,
    ]
    np.testing.assert_array_equal(calls[-1].output, output)
    np.testing.assert_array_equal(calls[0].arguments["inputs"], IDS)
    assert "call" not in vars(recurrent)


def test_the_nearest_class_has_the_step():
    kinds = {
        layers.LSTM(2): "recurrent",
        layers.ConvLSTM1D(2, 2): "recurrent",
        layers.Bidirectional(layers.LSTM(2)): "both_directions",
        layers.AdditiveAttention(): "keyed_attention",
        layers.MultiHeadAttention(1, 2): "attention",
        layers.Conv1D(2, 3): "causal_convolution",
    }
    for layer, name in kinds.items():
        assert step_of(layer, {}) is LAYER_STEPS.get(name)
    for layer in (layers.Dense(2), layers.Conv1D(2, 1), layers.Dropout(0.1)):
        assert step_of(layer, {"inputs": np.zeros((1, 4))}) is None


def test_an_embedding_of_positions_is_known_by_its_values():
    table = layers.Embedding(9, 2)
    assert step_of(table, {"inputs": np.arange(5)}) is LAYER_STEPS.get("embedded_positions")
    assert step_of(table, {"inputs": np.arange(5)[None]}) is not None
    assert step_of(table, {"inputs": np.array([[0, 1, 3]])}) is None
    assert step_of(table, {"inputs": np.array([[0]])}) is None


def test_the_first_layer_that_looks_ahead_is_named():
    model = models.randomized(
        models.sequential(
            layers.Dense(D), layers.Bidirectional(models.lstm(4)), layers.LayerNormalization()
        )
    )
    changed = IDS.copy()
    changed[:, 4:] += 1
    named = first_that_looks_ahead(model, forward(model), IDS, changed)
    assert named == f"layer {model.layers[2].name!r} (Bidirectional)"
    causal = models.randomized(models.sequential(models.lstm()))
    assert first_that_looks_ahead(causal, forward(causal), IDS, changed) == ""


def calls_of(layer, inputs, outputs):
    return LayerCall(layer, 0, {"inputs": inputs}, outputs)


def test_the_suspect_is_the_first_whose_output_differs():
    rng = np.random.default_rng(0)
    x, y, z = (rng.normal(size=(1, 3, 2)) for _ in range(3))
    first, second = layers.Dense(2, name="first"), layers.Dense(2, name="second")
    whole = [calls_of(first, x, y), calls_of(second, y, z)]

    def steps(first_output, second_input, second_output):
        return [
            [
                calls_of(first, x[:, t : t + 1], first_output[:, t : t + 1]),
                calls_of(second, second_input[:, t : t + 1], second_output[:, t : t + 1]),
            ]
            for t in range(3)
        ]

    assert suspect(whole, steps(y, y, z)) == Suspect(None)
    wrong = suspect(whole, steps(y, y, z + [[[0], [1], [0]]]))
    assert wrong.call.layer is second and not wrong.before
    assert wrong.words == "layer 'second' (Dense)"
    # Its input is wrong, and no layer made it.
    between = suspect(whole, steps(y, y + 1, z + 1))
    assert between.call.layer is second and between.before
    assert between.words == "what is computed before layer 'second' (Dense)"
    # A sum over the tokens has no axis of them.
    pooled = [calls_of(first, x, y.sum(axis=1)), calls_of(second, y, z)]
    assert suspect(pooled, steps(y, y, z)).call.layer is first


class Decayed(layers.Layer):
    """A running average, as an example of a layer of somebody's own."""

    def call(self, inputs):
        outputs = [inputs[:, 0]]
        for t in range(1, inputs.shape[1]):
            outputs.append(0.5 * outputs[-1] + inputs[:, t])
        return keras.ops.stack(outputs, axis=1)


def test_a_layer_of_ones_own_has_a_step_that_is_registered(monkeypatch):
    from tfscale.inference.keras_decoder import KerasDecoder
    from tfscale.models.decoding import cached_model

    monkeypatch.setattr(LAYER_STEPS, "_registered", dict(LAYER_STEPS._registered))

    @tfscale.register
    class DecayedStep(tfscale.LayerStep):
        name, layers, keeps = "decayed", "`Decayed`", "state"

        def __init__(self, call, context):
            super().__init__(call, context)
            self.shapes = {"sum": (1, call.arguments["inputs"].shape[-1])}

        @classmethod
        def classes(cls):
            return (Decayed,)

        def step(self, arguments, kept, place, compute):
            new = 0.5 * kept["sum"] + arguments["inputs"][:, 0]
            return new[:, None], {"sum": new}

    model = models.randomized(models.sequential(Decayed(), length=C))
    cached = cached_model(model, C, V)
    assert cached.cache_spec() == {"state_sum_0": (1, D)}
    ids = np.random.default_rng(1).integers(0, V, (1, C)).astype("int32")
    decoder = KerasDecoder(cached)
    found = np.stack([decoder.feed([int(token)]) for token in ids[0]])
    np.testing.assert_allclose(found, np.asarray(model(ids))[0], atol=1e-4)
