"""Our recurrent layers beside Keras's own, and what is dropped, against masks that are drawn by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfscale.models import recurrent_layers, recurrent_steps
from tfscale.models.dropout import Dropout, dropped, keep_mask
from tfscale.models.regularization import ActivationRegularization, WordDropout

KINDS = ["LSTM", "GRU", "SimpleRNN"]


def pair(kind, **options):
    """Keras's layer and ours with the same weights, all drawn anew."""
    layers = [
        getattr(module, kind)(7, return_sequences=True, return_state=True, **options)
        for module in (keras.layers, recurrent_layers)
    ]
    rng = np.random.default_rng(0)
    for layer in layers:
        layer.build((3, 5, 4))
    weights = [rng.normal(0, 0.5, v.shape) for v in layers[0].weights]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def outputs_and_gradients(layer, x, states, how):
    def run(x, states):
        with tf.GradientTape() as tape:
            tape.watch([x, states])
            outputs = layer(x, initial_state=states, training=True)
            loss = tf.reduce_sum(tf.sin(outputs[0])) + sum(
                tf.reduce_sum(tf.cos(state)) for state in outputs[1:]
            )
        return outputs, tape.gradient(
            loss, [x, *states, *(w.value for w in layer.trainable_weights)]
        )

    function = run if how == "eager" else tf.function(run, jit_compile=how == "xla")
    return tf.nest.flatten(function(x, states))


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_states_and_gradients_equal_keras(kind, how):
    rng = np.random.default_rng(1)
    x = tf.constant(rng.normal(size=(3, 5, 4)).astype("float32"))
    states = [
        tf.constant(rng.normal(size=(3, 7)).astype("float32"))
        for _ in range(2 if kind == "LSTM" else 1)
    ]
    found = [outputs_and_gradients(layer, x, states, how) for layer in pair(kind)]
    assert len(found[0]) == len(found[1]) > 6
    for theirs, ours in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"go_backwards": True}, {"activation": "relu"}, {"use_bias": False}, {"unroll": True}],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_only_keras_can_do_is_done_by_keras(kind, options):
    x = tf.constant(np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32"))
    theirs, ours = (layer(x) for layer in pair(kind, **options))
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_step_leaves_the_state(kind):
    x = tf.constant(np.random.default_rng(1).normal(size=(2, 4, 4)).astype("float32"))
    _, ours = pair(kind)
    mask = tf.constant([[True, True, False, False], [True, True, True, True]])
    after_two = ours(x[:, :2])[1]
    np.testing.assert_allclose(ours(x, mask=mask)[1][0], after_two[0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_weight_drop_is_one_mask_on_the_kernel_for_all_steps(kind):
    x = tf.constant(np.random.default_rng(1).normal(size=(3, 5, 4)).astype("float32"))
    theirs, ours = pair(kind)
    ours.weight_drop = 0.5
    state = ours.cell.seed_generator.state
    with keras.StatelessScope(state_mapping=[(state, tf.constant([3, 4], state.dtype))]):
        found = ours(x, training=True)[0]
    recurrent = theirs.cell.recurrent_kernel
    with keras.StatelessScope(state_mapping=[(state, tf.constant([3, 4], state.dtype))]):
        mask = dropped(tf.ones(recurrent.shape), 0.5, ours.cell.seed_generator.next())
    assert 0.2 < float(tf.reduce_mean(tf.cast(mask == 0, tf.float32))) < 0.8
    recurrent.assign(recurrent.value * mask)
    np.testing.assert_allclose(found, theirs(x)[0], atol=1e-5)
    np.testing.assert_array_equal(ours(x)[0], ours(x, training=False)[0])


def test_recurrent_dropout_of_an_lstm_is_one_mask_on_the_state_with_its_gradient():
    rng = np.random.default_rng(2)
    projected, recurrent = (
        tf.constant(rng.normal(size=s).astype("float32")) for s in ((5, 2, 12), (3, 12))
    )
    mask = tf.constant([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0]])
    zeros = tf.zeros((2, 3))

    def by_hand(projected, recurrent):
        h, c, out = zeros, zeros, []
        for t in range(5):
            h, c = recurrent_steps.lstm_step(projected[t] + (h * mask) @ recurrent, c)
            out.append(h)
        return tf.stack(out)

    results = []
    for function in (
        by_hand,
        lambda p, r: recurrent_steps.lstm_sequence(p, r, zeros, zeros, mask)[0],
    ):
        with tf.GradientTape() as tape:
            tape.watch([projected, recurrent])
            outputs = function(projected, recurrent)
            loss = tf.reduce_sum(tf.sin(outputs))
        results.append([outputs, *tape.gradient(loss, [projected, recurrent])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_word_dropout_drops_all_occurrences_of_a_word():
    layer = WordDropout(50, 0.5)
    ids = np.random.default_rng(0).integers(0, 50, (4, 30))
    dropped = layer(tf.ones((4, 30, 3)), ids, training=True).numpy()
    assert set(np.unique(dropped)) == {0.0, 2.0}
    for word in np.unique(ids):
        assert len(np.unique(dropped[ids == word])) == 1
    np.testing.assert_array_equal(layer(tf.ones((4, 30, 3)), ids), 1.0)


def test_activation_regularization_by_hand():
    layer = ActivationRegularization(2.0, 3.0)
    dropped = tf.constant([[[1.0, 0.0], [2.0, 0.0]]])
    whole = tf.constant([[[1.0, 1.0], [2.0, 3.0]]])
    assert layer(dropped, whole, training=True) is not None
    # 2 x (1 + 0 + 4 + 0) / 4 + 3 x (1 + 4) / 2
    assert [float(loss) for loss in layer.losses] == [2 * 5 / 4 + 3 * 5 / 2]
    layer(dropped, whole)
    assert layer.losses == []


@pytest.mark.parametrize("xla", [False, True])
def test_dropout_masks_are_fair_and_independent(xla):
    """Statistics of 50 masks: their means, the means of each place, neighbours, and one mask beside the next seed's."""
    function = tf.function(lambda seed: keep_mask((40, 500), 0.2, seed), jit_compile=xla)
    masks = (
        np.stack([function(tf.constant([7, seed])) for seed in range(50)])
        .reshape(50, -1)
        .astype(float)
    )
    # Standard errors of independent draws, with room for 4 of them.
    assert masks.mean() == pytest.approx(0.8, abs=4 * (0.16 / masks.size) ** 0.5)
    assert masks.mean(1).std() == pytest.approx((0.16 / 20_000) ** 0.5, rel=0.4)
    assert masks.mean(0).std() == pytest.approx((0.16 / 50) ** 0.5, rel=0.02)
    for one, other in ((masks[:, 1:], masks[:, :-1]), (masks[1:], masks[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / one.size**0.5
    other = tf.function(lambda seed: keep_mask((40, 500), 0.2, seed))(tf.constant([7, 3]))
    np.testing.assert_array_equal(masks[3], np.ravel(other))
    assert not np.array_equal(masks[3], np.ravel(function(tf.constant([8, 3]))))


def test_dropout_scales_what_it_keeps_and_repeats_its_mask_where_it_is_told():
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 50, 4)).astype("float32"))
    found = Dropout(0.4, seed=1)(x, training=True).numpy()
    kept = found != 0
    np.testing.assert_allclose(found[kept], x.numpy()[kept] / 0.6, rtol=1e-6)
    assert 0.5 < kept.mean() < 0.7
    repeated = Dropout(0.4, noise_shape=(None, 1, None), seed=1)(
        tf.ones((3, 50, 4)), training=True
    ).numpy()
    assert (repeated == repeated[:, :1]).all() and len(np.unique(repeated)) == 2
    np.testing.assert_array_equal(Dropout(0.4)(x), x)
