"""The device side against the Keras network it was exported from, and what it refuses to load."""

import hashlib
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfscale.config import SamplingConfig
from tfscale.device import load
from tfscale.device.model import check_digest
from tfscale.errors import (
    ConfigError,
    DataError,
    ExportError,
    OvertakenError,
    PromptError,
    TokenizerError,
)
from tfscale.files.description import Description
from tfscale.text.tokenizers import train_tokenizer

CONTEXT = 19


def keras_logits(network, ids) -> np.ndarray:
    return np.asarray(network(np.array([ids], np.int32)))[0]


@pytest.mark.parametrize("xnnpack", [True, False])
def test_every_split_into_prompt_and_decode_gives_the_logits_of_the_full_forward_pass(
    exported, xnnpack
):
    # Prompts of 1 to 19 tokens go through whole prefill calls, padded ones and single steps; that of 19 is read as
    # 8, 8, and three single steps: a padded call of 4 at position 16 would overrun the context.
    ids = np.random.default_rng(0).integers(0, 257, CONTEXT).tolist()
    expected = keras_logits(exported.network, ids)
    assert np.abs(expected - expected[0]).max() > 1
    decoder = load(exported.directory, xnnpack=xnnpack).decoder()
    for prompt in range(1, CONTEXT + 1):
        decoder.reset()
        np.testing.assert_allclose(decoder.feed(ids[:prompt]), expected[prompt - 1], atol=1e-4)
        for position in range(prompt, CONTEXT):
            np.testing.assert_allclose(decoder.feed([ids[position]]), expected[position], atol=1e-4)


def test_a_second_prompt_after_decoding_is_read_in_chunks_too(exported):
    ids = np.random.default_rng(1).integers(0, 257, CONTEXT).tolist()
    decoder = load(exported.file).decoder()
    for cut in (3, 4, 9, 15):
        decoder.reset()
        decoder.feed(ids[:2])
        decoder.feed(ids[2:cut])
        assert decoder.position == cut
        np.testing.assert_allclose(
            decoder.feed(ids[cut:]), keras_logits(exported.network, ids)[-1], atol=1e-4
        )


def test_reset_leaves_nothing_behind(exported):
    decoder = load(exported.directory).decoder()
    first = decoder.feed([1, 2, 3, 4, 5, 6])
    for token in range(9):
        decoder.feed([token])
    decoder.reset()
    np.testing.assert_array_equal(decoder.feed([1, 2, 3, 4, 5, 6]), first)


def test_logits_handed_out_are_not_overwritten(exported):
    decoder = load(exported.directory).decoder()
    first = decoder.feed([1])
    kept = first.copy()
    decoder.feed([2])
    np.testing.assert_array_equal(first, kept)


def test_greedy_completion_equals_the_full_forward_pass(exported):
    model = load(exported.directory)
    ids = [exported.tokenizer.end_id, *exported.tokenizer.encode("ab c")]
    expected: list[int] = []
    while len(expected) < 10:
        token = int(keras_logits(exported.network, ids + expected)[-1].argmax())
        if token == exported.tokenizer.end_id:
            break
        expected.append(token)
    assert len(expected) > 3
    assert model.generate("ab c", 10).tokens == expected


def test_context(exported):
    model = load(exported.directory)
    sampling = SamplingConfig(temperature=50.0, seed=1)
    result = model.generate("abc", 100, sampling)
    if exported.network.config.family == "lstm":
        assert model.decoder().context_length is None
        assert (len(result.tokens), result.stopped_by) in [
            (100, "length"),
            (len(result.tokens), "end"),
        ]
        return
    # END a b c take 4 of 19 places; 15 tokens are read after them and one more is drawn.
    assert (len(result.tokens), result.stopped_by) == (16, "context")
    with pytest.raises(PromptError, match="19 tokens; the model's context of 19 takes at most 18"):
        model.generate("x" * 19, 1)
    with pytest.raises(PromptError, match="20 tokens do not fit"):
        model.decoder().feed(list(range(20)))
    assert len(model.generate("x" * 18, 5).tokens) == 1


def test_score_sums_over_windows(exported):
    text = "Unequal windows: 19 tokens, 19, and a tail. ж "
    ids = [*exported.tokenizer.encode(text), exported.tokenizer.end_id]
    assert len(ids) == 48
    inputs = [exported.tokenizer.end_id, *ids[:-1]]
    nll = 0.0
    for start in range(0, len(ids), CONTEXT):
        logits = keras_logits(exported.network, inputs[start : start + CONTEXT]).astype(np.float64)
        for row, target in zip(logits, ids[start : start + CONTEXT], strict=True):
            nll -= row[target] - math.log(np.exp(row).sum())
    model, calls = load(exported.directory), []
    score = model.score(text, progress=lambda done, total: calls.append((done, total)))
    assert (score.tokens, score.utf8_bytes) == (48, 47)
    assert score.nll == pytest.approx(nll, rel=1e-6)
    assert calls == [(19, 48), (38, 48), (48, 48)]
    assert model.score(ids, utf8_bytes=47) == score
    # The end token alone is what the empty document has.
    assert model.score("").tokens == 1


def test_score_refuses_what_it_cannot_score(exported):
    model = load(exported.directory)
    with pytest.raises(DataError, match="0 tokens"):
        model.score([])
    with pytest.raises(DataError, match="0 to 256; received 3 to 257"):
        model.score([3, 257])


def test_benchmark_counts_what_it_timed(exported):
    figures = load(exported.directory).benchmark(tokens=100, repeats=2)
    expected = (9, 10) if exported.network.config.family == "transformer" else (64, 100)
    assert (figures["prompt_tokens"], figures["decode_tokens"]) == expected
    assert figures["file_bytes"] == os.path.getsize(exported.file)
    assert figures["prefill_tokens_per_second"] == pytest.approx(
        expected[0] / figures["first_token_seconds"]
    )
    assert figures["decode_tokens_per_second"] > 0
    assert figures["threads"] == 1
    assert figures["peak_rss_bytes"] is None or figures["peak_rss_bytes"] > 10_000_000
    with pytest.raises(ConfigError, match="tokens=0"):
        load(exported.directory).benchmark(tokens=0)


def test_runs_where_tensorflow_and_keras_cannot_be_imported(exported):
    code = """
import sys
for name in ("tensorflow", "keras", "tf_keras", "keras_hub", "keras_nlp"):
    sys.modules[name] = None
import tfscale.device
model = tfscale.device.load(sys.argv[1])
pieces = []
result = model.generate("ab", 8, on_text=pieces.append)
assert "".join(pieces) == result.text, pieces
assert model.score("abc").tokens == 4
assert model.benchmark(tokens=2, repeats=1)["decode_tokens_per_second"] > 0
print(result.tokens)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, exported.directory], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == load(exported.directory).generate("ab", 8).tokens


def change_metadata(copy, **fields) -> None:
    with open(copy.metadata) as file:
        metadata = json.load(file)
    with open(copy.metadata, "w") as file:
        json.dump(metadata | fields, file)


def test_a_damaged_file_never_reaches_the_runtime(copy):
    with open(copy.file, "rb") as file:
        content = file.read()
    with open(copy.file, "wb") as file:
        file.write(content[:-1])
    with pytest.raises(ExportError, match=r"model\.tflite is damaged or was replaced: its SHA-256"):
        load(copy.directory)
    with open(copy.file, "wb") as file:
        file.write(content[:-1000] + bytes([content[-1000] ^ 1]) + content[-999:])
    with pytest.raises(ExportError, match="damaged"):
        load(copy.file)


def test_without_model_json_a_truncated_file_is_an_error_of_one_line(copy):
    os.remove(copy.metadata)
    with open(copy.file, "r+b") as file:
        file.truncate(os.path.getsize(copy.file) // 2)
    with pytest.raises(
        ExportError,
        match="is truncated or damaged: its structure cannot be read$|buffer .* ends behind the file$",
    ) as caught:
        load(copy.file)
    assert "\n" not in str(caught.value)


def test_without_model_json_the_file_generates(copy):
    expected = load(copy.directory).generate("ab", 5).tokens
    os.remove(copy.metadata)
    model = load(copy.file)
    assert model.metadata == {}
    assert model.generate("ab", 5).tokens == expected
    if copy.network.config.family == "lstm":
        with pytest.raises(ExportError, match=r"cannot be scored: model\.json"):
            model.score("ab")


def test_what_is_not_an_export(tmp_path, copy):
    with pytest.raises(ExportError, match="cannot read .*missing.tflite: No such file"):
        load(str(tmp_path / "missing.tflite"))
    with pytest.raises(ExportError, match="cannot read"):
        load(str(tmp_path))
    with open(copy.file, "wb") as file:
        file.write(b"PK\x03\x04 a zip file")
    with pytest.raises(ExportError, match=r"not a TFLite file: bytes 4 to 8 are b' a z'"):
        load(copy.directory)
    with open(copy.file, "wb"):
        pass
    with pytest.raises(ExportError, match="not a TFLite file"):
        load(copy.directory)


def test_metadata_of_another_version_or_none_at_all(copy):
    change_metadata(copy, format_version=2)
    with pytest.raises(ExportError, match="format_version 2; this version of tfscale reads 1"):
        load(copy.directory)
    with open(copy.metadata, "w") as file:
        file.write("{")
    with pytest.raises(ExportError, match="not valid JSON"):
        load(copy.directory)


def test_tokenizer_of_another_model(copy):
    change_metadata(copy, tokenizer_digest="0" * 64)
    with pytest.raises(TokenizerError, match="not the tokenizer of this model"):
        load(copy.directory)
    os.rename(os.path.join(copy.directory, "tokenizer"), os.path.join(copy.directory, "elsewhere"))
    with pytest.raises(TokenizerError, match="tokenizer is missing"):
        load(copy.directory)


def test_threads_out_of_range(exported):
    with pytest.raises(ConfigError, match="threads=0"):
        load(exported.directory, threads=0)


def write_signature(path: str, key: str, names: tuple[str, str]) -> None:
    """A file of one signature that adds 1 to its input."""
    import tensorflow as tf

    module = tf.Module()
    module.call = tf.function(
        lambda **inputs: {names[1]: inputs[names[0]] + 1.0},
    ).get_concrete_function(**{names[0]: tf.TensorSpec((1, 4), tf.float32, name=names[0])})
    tf.saved_model.save(module, path + "_saved", signatures={key: module.call})
    converter = tf.lite.TFLiteConverter.from_saved_model(path + "_saved", signature_keys=[key])
    with open(path, "wb") as file:
        file.write(converter.convert())


@pytest.mark.parametrize(
    ("key", "names", "message"),
    [
        (
            "serving_default",
            ("x", "y"),
            "signatures are .'serving_default'., and `decode` is not among them",
        ),
        ("decode", ("x", "y"), r"signature decode has inputs \['x'\] and outputs \['y'\]"),
    ],
)
def test_a_tflite_file_that_is_no_language_model(byte_tokenizer, tmp_path, key, names, message):
    path = str(tmp_path / "other.tflite")
    write_signature(path, key, names)
    byte_tokenizer.save(str(tmp_path / "tokenizer"))
    with pytest.raises(ExportError, match=message):
        load(path)


def test_sentencepiece_model_on_the_device_streams_whole_characters(make_export):
    text = "the cat sat on the mat\nthe hat\n" * 20
    tokenizer = train_tokenizer("sentencepiece", [text], 270)
    model = load(make_export("transformer", tokenizer).directory)
    pieces: list[str] = []
    result = model.generate(
        "naïve 😀", 6, SamplingConfig(temperature=30.0, seed=2), on_text=pieces.append
    )
    assert len(result.tokens) == 6
    assert "".join(pieces) == result.text == tokenizer.decode(result.tokens)
    score = model.score("the cat 😀")
    assert (score.tokens, score.utf8_bytes) == (len(tokenizer.encode("the cat 😀")) + 1, 12)


PROMPTS = ("def", "im", "x = ", "The")


def test_a_stream_that_was_overtaken_raises(exported):
    model = load(exported.directory)
    right = [model.generate(prompt, 9).text for prompt in PROMPTS[:2]]
    first, second = (model.stream(prompt, 9) for prompt in PROMPTS[:2])
    started = next(first)  # `second` has not begun, and does not disturb
    assert right[0].startswith(started + next(first))
    pieces = [next(second)]
    with pytest.raises(
        OvertakenError, match="another text was begun on this model, which holds one at a time"
    ):
        next(first)
    assert "".join(pieces + list(second)) == right[1]


@pytest.mark.parametrize(
    "other",
    [
        lambda m: m.generate("im", 3),
        lambda m: m.score("im"),
        lambda m: m.suggest("im"),
        lambda m: m.decoder(),
        lambda m: m.benchmark(2, 1, 2),
    ],
)
def test_every_call_overtakes_a_stream_and_a_decoder(exported, other):
    model = load(exported.directory)
    pieces = model.stream("def", 9)
    next(pieces)
    other(model)
    with pytest.raises(OvertakenError):
        next(pieces)
    decoder = model.decoder()
    decoder.feed([1])
    other(model)
    for call in (lambda: decoder.feed([2]), lambda: decoder.mark(), lambda: decoder.back_to(None)):
        with pytest.raises(OvertakenError):
            call()
    decoder.reset()
    assert decoder.feed([1]).shape == (257,) and decoder.vocabulary_size == 257


def test_threads_wait_for_each_other(exported):
    model = load(exported.directory)
    right = [model.generate(prompt, 9).text for prompt in PROMPTS]
    scores = [model.score(prompt).nll for prompt in PROMPTS]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda prompt: model.generate(prompt, 9).text, PROMPTS * 4))
        scored = list(pool.map(lambda prompt: model.score(prompt).nll, PROMPTS * 4))
    assert found == right * 4 and scored == scores * 4


@pytest.mark.parametrize(
    "change,message",
    [
        ({"tokenizer": 1}, "tokenizer should be text or null; received 1"),
        ({"file": None}, "file should be text; received None"),
        (
            {"file": "../model.tflite"},
            "file should be a name in the same folder; received '../model.tflite'",
        ),
        ({"tokenizer": "/etc"}, "tokenizer should be a name in the same folder; received '/etc'"),
        ({"model": [None]}, "model should hold names and values; received a list"),
        (
            {"model": {"sequence_length": "16"}},
            "model: sequence_length should be a whole number or null; received '16'",
        ),
        ({"sha256": 1.0}, "sha256 should be text; received 1.0"),
    ],
)
def test_a_description_of_other_types_is_one_line(tmp_path, change, message):
    (tmp_path / "model.json").write_text(json.dumps({"format_version": 1} | change))
    with pytest.raises(ExportError, match=f"model.json: {message}"):
        load(str(tmp_path))


def test_a_file_that_cannot_be_checked_is_said_and_a_renamed_one_is_checked(tmp_path, caplog):
    path = tmp_path / "other.tflite"
    path.write_bytes(b"content")
    digest = hashlib.sha256(b"content").hexdigest()
    check_digest(str(path), Description(file="model.tflite", sha256=digest))
    assert not caplog.records
    with pytest.raises(ExportError, match="other.tflite is damaged or was replaced"):
        check_digest(str(path), Description(file="model.tflite", sha256="0" * 64))
    (tmp_path / "model.tflite").write_bytes(b"another")
    for description in (Description(), Description(file="model.tflite", sha256="0" * 64)):
        caplog.clear()
        check_digest(str(path), description)
        assert "other.tflite cannot be checked for damage" in caplog.text
