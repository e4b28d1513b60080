"""The gate lets right files through and stops each kind of wrong one."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.tools import flatbuffer_utils

import tfscale.compat.keras_weights
import tfscale.device.decoder
import tfscale.exporting.parity
import tfscale.exporting.rounded
from tests.exporting.exported import (
    CONFIGS,
    PREFILL_LENGTHS,
    check_parity,
    make_file,
    make_network,
    write_folder,
)
from tests.slow import slow_but
from tfscale.device.runner import DeviceModel
from tfscale.errors import ExportError
from tfscale.exporting.limits import agreeing, limits_of, noise, products_of
from tfscale.exporting.report import Checks, require
from tfscale.exporting.rounded import rounded_in_place
from tfscale.exporting.tflite import export_tflite
from tfscale.models import build_network
from tfscale.models.logits import difference, spread
from tfscale.models.weight_formats import store, weight_formats

RECIPES = ["none", "float16", "int8", "int4", "int4_all"]
SOON = ("int8", "int4_all")


def compare(
    folder, tokenizer, held_out, family="transformer", quantize="none", content=None, network=None
):
    network = network or make_network(family)
    path = write_folder(
        folder, content or make_file(family, quantize), network, tokenizer, quantize
    )
    return check_parity(network, tokenizer, path, held_out, quantize=quantize)


def values(report):
    return {row["name"]: row["value"] for row in report["checks"]}


def failed(report):
    return {row["name"] for row in report["checks"] if not row["passed"]}


def change_constants(content, change):
    """The file with its large float32 constants replaced by `change` of them."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:
        if buffer.data is not None and len(buffer.data) > 2000:
            array = np.frombuffer(bytes(buffer.data), np.float32)
            buffer.data = np.frombuffer(change(array).astype(np.float32).tobytes(), np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


@pytest.mark.parametrize(
    "family, quantize",
    [
        pytest.param(family, quantize, marks=() if quantize in SOON else pytest.mark.slow)
        for family in ("transformer", "lstm")
        for quantize in RECIPES
    ],
)
def test_right_files_pass(tmp_path, tokenizer, held_out, family, quantize):
    report = compare(tmp_path, tokenizer, held_out, family, quantize)
    assert failed(report) == set() and report["passed"]
    require(report)
    found = values(report)
    prompts = {
        f"prompt_{name} ({kernels})"
        for name in ("max_logit_difference", "relative_logit_error")
        for kernels in ("xnnpack", "plain")
    }
    assert prompts <= set(found) if family == "transformer" else not prompts & set(found)
    if quantize != "none":
        # A recipe that changed nothing would not have been applied.
        assert found["perplexity_change (xnnpack)"] > 1e-6
        after, rounded = (report["perplexity"][name] for name in ("file", "keras_rounded"))
        change = abs(after / rounded - 1)
        assert found["perplexity_change_from_rounded (xnnpack)"] == pytest.approx(change, abs=1e-12)
    assert report["sizes"]["file_bytes"] > report["sizes"]["gzip_bytes"] > 1000
    assert report["speed"]["decode_tokens_per_second"] > 0
    assert len(report["operations"]) == (3 if family == "transformer" else 1)


@pytest.mark.parametrize("family", slow_but(list(CONFIGS), "lstm"))
def test_keras_perplexity_is_that_of_the_full_forward_pass(tmp_path, tokenizer, held_out, family):
    report = compare(tmp_path, tokenizer, held_out, family)
    network, nll = make_network(family), 0.0
    stream = [tokenizer.end_id, *held_out]
    for start in range(0, len(held_out), 16):
        inputs, targets = (
            stream[start : start + 16][: len(held_out) - start],
            stream[start + 1 : start + 17],
        )
        logits = np.asarray(network(np.array([inputs])), np.float64)[0]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        nll -= np.log(probabilities[np.arange(len(targets)), targets]).sum()
    assert report["perplexity"]["keras"] == pytest.approx(np.exp(nll / len(held_out)), rel=1e-6)
    assert report["perplexity"]["file"] == pytest.approx(report["perplexity"]["keras"], rel=1e-4)


def test_mixed_precision_network_is_compared_in_float32(tmp_path, tokenizer, held_out):
    network = make_network("transformer", "mixed_float16")
    assert compare(tmp_path, tokenizer, held_out, network=network)["passed"]


@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_damaged_weight_fails(tmp_path, tokenizer, held_out, family):
    content = change_constants(
        make_file(family, "none"), lambda array: np.where(np.arange(array.size) < 64, 0, array)
    )
    report = compare(tmp_path, tokenizer, held_out, family, content=content)
    assert not report["passed"]
    assert {"max_logit_difference (xnnpack)", "relative_logit_error (plain)"} <= failed(report)
    with pytest.raises(
        ExportError,
        match=r"none file fails its parity check: .* which must be .*; nothing was written",
    ):
        require(report)


def test_weights_that_are_not_numbers_fail(tmp_path, tokenizer, held_out):
    content = change_constants(make_file("lstm", "none"), lambda array: array * np.inf)
    report = compare(tmp_path, tokenizer, held_out, "lstm", content=content)
    assert {
        "max_logit_difference (xnnpack)",
        "relative_logit_error (xnnpack)",
        "perplexity_change (plain)",
    } <= failed(report)


def test_the_file_of_another_network_fails(tmp_path, tokenizer, held_out):
    report = compare(tmp_path, tokenizer, held_out, network=make_network("transformer", seed=1))
    assert {
        "top1_agreement (xnnpack)",
        "greedy_gap (xnnpack)",
        "perplexity_change (xnnpack)",
    } <= failed(report)


def test_int8_weights_of_too_few_steps_fail(tmp_path, tokenizer, held_out):
    def coarse(array):
        step = np.abs(array).max() / 3
        return np.round(array / step) * step

    content = change_constants(make_file("transformer", "none"), coarse)
    report = compare(tmp_path, tokenizer, held_out, quantize="int8", content=content)
    assert {"relative_logit_error (xnnpack)", "top1_agreement (xnnpack)"} <= failed(report)
    with pytest.raises(ExportError, match="try quantize=float16"):
        require(report)


def test_state_kept_between_sequences_fails(tmp_path, tokenizer, held_out, monkeypatch):
    def keep_state(self):
        self._position = 0

    monkeypatch.setattr(tfscale.device.decoder.LiteRTDecoder, "reset", keep_state)
    report = compare(tmp_path, tokenizer, held_out, "lstm")
    assert {"second_run_difference (xnnpack)", "max_logit_difference (xnnpack)"} <= failed(report)


def test_prefill_calls_with_a_wrong_mask_fail(tmp_path, tokenizer, held_out, monkeypatch):
    def see_everything(position, length, context):
        return np.zeros((1, 1, length, context), np.float32)

    monkeypatch.setattr(tfscale.device.decoder, "causal_mask", see_everything)
    report = compare(tmp_path, tokenizer, held_out)
    assert failed(report) >= {
        f"prompt_max_logit_difference ({kernels})" for kernels in ("xnnpack", "plain")
    }
    assert {name for name in failed(report) if not name.startswith(("prompt_", "greedy_"))} == set()


def test_pads_over_earlier_tokens_fail(tmp_path, tokenizer, held_out, monkeypatch):
    # The cache as the runtime leaves it when a padded call runs past the context: shifted back over earlier tokens.
    prefill = tfscale.device.decoder.LiteRTDecoder._prefill

    def overrun(self, ids, length):
        prefill(self, ids, length)
        if self.position == 15:
            for name in self.cache_shapes:
                cache = self._inputs[name]
                cache[:, 8:15] = np.array(cache[:, 9:16])

    monkeypatch.setattr(tfscale.device.decoder.LiteRTDecoder, "_prefill", overrun)
    report = compare(tmp_path, tokenizer, held_out)
    assert failed(report) == {
        f"prompt_{name} ({kernels})"
        for name in ("max_logit_difference", "relative_logit_error")
        for kernels in ("xnnpack", "plain")
    }


def test_every_prefill_call_is_compared_however_short_the_text(
    tmp_path, tokenizer, held_out, monkeypatch
):
    called = set()
    prefill = tfscale.device.decoder.LiteRTDecoder._prefill

    def counted(self, ids, length):
        called.add(length)
        return prefill(self, ids, length)

    monkeypatch.setattr(tfscale.device.decoder.LiteRTDecoder, "_prefill", counted)
    # Timing calls them too.
    monkeypatch.setattr(DeviceModel, "benchmark", lambda self, tokens: {"threads": 1})
    assert compare(tmp_path, tokenizer, held_out[:3])["passed"]
    assert called == set(PREFILL_LENGTHS)


def test_prompt_longer_than_every_prefill_call_is_read_in_pieces(
    tmp_path, tokenizer, held_out, monkeypatch
):
    calls = []
    prefill = tfscale.device.decoder.LiteRTDecoder._prefill

    def counted(self, ids, length):
        calls.append((len(ids), length))
        return prefill(self, ids, length)

    monkeypatch.setattr(tfscale.device.decoder.LiteRTDecoder, "_prefill", counted)
    assert compare(tmp_path, tokenizer, held_out)["passed"]
    # Of the 16 tokens the last goes through decode: 15 are more than the longest call of 8, and leave a pad.
    assert (8, 8) in calls and (7, 8) in [
        calls[i + 1] for i in range(len(calls) - 1) if calls[i] == (8, 8)
    ]


def test_tokenizer_that_ships_other_ids_fails(tmp_path, tokenizer, held_out, monkeypatch):
    load = tfscale.exporting.parity.load

    def load_with_other_tokenizer(*arguments, **options):
        model = load(*arguments, **options)

        class Shifted:
            vocabulary_size, end_id = 257, 256
            encode = staticmethod(lambda text: [(i + 1) % 256 for i in tokenizer.encode(text)])
            decode = staticmethod(tokenizer.decode)

        model.tokenizer = Shifted()
        return model

    monkeypatch.setattr(tfscale.exporting.parity, "load", load_with_other_tokenizer)
    report = compare(tmp_path, tokenizer, held_out, "lstm")
    assert failed(report) == {"tokenizer_ids_equal", "tokenizer_round_trip"}


def test_limits_are_ordered_by_how_much_a_recipe_changes():
    limits = [limits_of(make_network("transformer"), recipe) for recipe in RECIPES]
    changes = [limit.perplexity_change for limit in limits]
    assert changes == [1e-4, 1e-3, 1e-2, 0.05, 0.1]
    for field in ("relative_logit_error", "greedy_gap"):
        found = [getattr(limit, field) for limit in limits]
        assert found == sorted(found) and len(set(found)) == 2, field
    assert (limits[0].max_logit_difference, limits[2].max_logit_difference) == (1e-3, None)


def test_limits_follow_from_bits_width_and_depth():
    """Four matrices in each of two blocks and the output; the widest sum is the feed-forward layer's, over 128."""
    network = make_network("transformer")
    assert products_of(network) == (9, 128)
    assert noise(8, 128) == pytest.approx(np.sqrt(2 * np.log(256)) / 127 / np.sqrt(12))
    limit = limits_of(network, "int8").relative_logit_error
    assert limit == pytest.approx(3 * noise(8, 128) * 3)
    assert limits_of(network, "int8", converted=True).relative_logit_error == pytest.approx(
        limit * np.sqrt(2)
    )
    assert products_of(make_network("lstm")) == (4, 32)
    # The formula against rounding itself: normal numbers, the largest of which sets the scale.
    values = np.random.default_rng(0).normal(size=(500, 128))
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    error = np.round(values / step) * step - values
    assert np.sqrt(np.square(error).mean() / np.square(values).mean()) == pytest.approx(
        noise(8, 128), rel=0.2
    )


def test_masked_tokens_and_near_ties_count_for_nothing():
    expected = np.array([[0.0, 2.0, -np.inf, -1e9], [1.0, 3.0, -np.inf, -1e9]], np.float32)
    found = np.array([[0.5, 2.0, -np.inf, -1.1e9], [1.0, 3.0, -1e9, -np.inf]], np.float32)
    np.testing.assert_array_equal(difference(found, expected), [[0.5, 0, 0, 0], [0, 0, 0, 0]])
    assert spread([expected]) == pytest.approx(1.0)
    found[0, 2] = 1.0
    assert difference(found, expected)[0, 2] == np.inf and np.isnan(
        difference(found * np.nan, expected)[0, 0]
    )
    ties = np.array([[1.0, 1.01, 0.0], [1.0, 1.01, 0.0], [0.0, 1.0, 0.5]])
    chosen = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 1.0, 3.0]])
    assert [agreeing(chosen, ties, gap) for gap in (0.0, 0.02, 0.6)] == [1, 2, 3]


def test_checks_by_hand():
    checks = Checks()
    checks.add("below", 1.0, "<=", 1.0)
    checks.add("above", 2.0, ">=", 1.0)
    checks.add("same", 0.0, "==", 0.0)
    checks.add("measured", 1e9, "<=", None)
    assert checks.passed and [row["passed"] for row in checks.rows] == [True] * 4
    checks.add("not a number", float("nan"), "<=", 1.0)
    assert not checks.passed and checks.rows[-1]["passed"] is False
    for rule, value in (("<=", 1.1), (">=", 0.9), ("==", 0.9)):
        checks.add("outside", value, rule, 1.0)
        assert checks.rows[-1]["passed"] is False


@pytest.mark.parametrize("quantize", slow_but(["int4", "int4_all"], "int4"))
def test_blocks_of_zeros_and_near_zero_run(tmp_path, tokenizer, held_out, quantize):
    # The quantizer gives them scales of zero or below float16's normal numbers, and XNNPACK refuses the file.
    network = build_network(CONFIGS["transformer"])
    network.set_weights(make_network("transformer").get_weights())
    for block in network.blocks:
        kernel = block.expand.kernel.numpy()
        kernel[:, ::2], kernel[:, 1] = 0, 1e-4
        block.expand.kernel.assign(kernel)
    content = export_tflite(network, quantize, PREFILL_LENGTHS)
    report = compare(
        tmp_path, tokenizer, held_out, quantize=quantize, content=content, network=network
    )
    # Random weights lose more than trained ones, and say nothing about how much.
    assert failed(report) <= {"perplexity_change (xnnpack)", "perplexity_change (plain)"}


@pytest.mark.parametrize("quantize", ["float16", "int8", "int4_all"])
@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_weights_are_rounded_for_a_while(family, quantize, monkeypatch):
    monkeypatch.setattr(tfscale.exporting.rounded, "_PART", 100)
    monkeypatch.setattr(tfscale.compat.keras_weights, "_PART", 100)
    network = build_network(make_network(family).config)
    own = make_network(family).get_weights()
    network.set_weights(own)
    formats = weight_formats(network, quantize)
    expected = [
        store(tf.convert_to_tensor(weight.value), formats[weight.path]).numpy()
        for weight in network.weights
    ]
    with pytest.raises(KeyError), rounded_in_place(network, quantize):
        for have, want in zip(network.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(have, want)
        raise KeyError
    for have, want in zip(network.get_weights(), own, strict=True):
        np.testing.assert_array_equal(have, want)
