"""Bundles for LiteRT-LM and SavedModels: they run where tfscale is not, and say the same."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import tfscale.device
import tfscale.exporting.litertlm as litertlm
from tests.exporting.exported import CONFIGS, make_network, make_run
from tfscale import cli
from tfscale.config import ExportConfig, SamplingConfig
from tfscale.device.bundle import BundleModel
from tfscale.errors import ConfigError, ExportError, PromptError
from tfscale.exporting.export import export_run
from tfscale.models import build_network
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.special import SpecialTokens

WORDS = "the quick brown fox jumps over the lazy dog, naïve café, 狐 and _under_score "


def tokenizer_of(kind):
    return train_tokenizer(
        kind,
        [WORDS * 50, "def main():\n\treturn 'x'\n" * 20] * 4,
        300 if kind == "sentencepiece" else 80,
    )


def run_with(folder, kind, family="transformer", **changes):
    """A run of a tokenizer's own vocabulary, with weights that have clear winners."""
    tokenizer = tokenizer_of(kind)
    config = dataclasses.replace(
        CONFIGS[family], vocabulary_size=tokenizer.vocabulary_size, sequence_length=64, **changes
    )
    network = build_network(config)
    generator = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(
            generator.normal(size=weight.shape, scale=0.2)
            + (1.0 if weight.name in ("gamma", "scale", "kept") else 0.0)
        )
    return make_run(folder, network, tokenizer)


@pytest.fixture(scope="module", params=["sentencepiece", "wordpiece", "byte"])
def bundle(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    # The weights of one block write another text, with a NUL, at which LiteRT-LM ends a prompt.
    run = run_with(root / "run", request.param, num_layers=1 if request.param == "wordpiece" else 2)
    config = ExportConfig(
        output=str(root / "export"), format="litertlm", quantize="int8", parity_tokens=64
    )
    return run, export_run(run, config), root / "export"


def test_a_bundle_reads_and_writes_as_the_file(bundle):
    run, report, folder = bundle
    found = {row["name"]: row["value"] for row in report["checks"]}
    assert found["bundle_ids_equal"] == found["bundle_text_equal"] == 1 and report["passed"]
    assert (
        report["greedy"]["bundle"]
        == tfscale.device.load(str(folder)).generate(report["greedy"]["prompt"], 32).text
    )
    assert sorted(os.listdir(folder)) == [
        "README.md",
        "model.json",
        "model.litertlm",
        "parity.json",
        "report.html",
        "tokenizer",
    ]
    model = tfscale.device.load(str(folder))
    assert isinstance(model, BundleModel)
    for text in (WORDS, "a  b\n\tdef main", "狐 naïve"):
        if run.tokenizer.lossless or run.tokenizer.decode(run.tokenizer.encode(text)) == text:
            assert model.tokenize(text) == run.tokenizer.encode(text), text
    # A message of a chat, whose content LiteRT-LM hands to the template in parts.
    with model._engine.create_conversation() as conversation:
        message = {"role": "user", "content": "the [fox]"}
        assert conversation.render_message_to_string(message) == "the [fox]"


def test_generate_by_the_command(bundle, capsys):
    _, _, folder = bundle
    words = [
        "generate",
        str(folder / "model.litertlm"),
        "--prompt",
        "the quick",
        "--max-tokens",
        "6",
        "--json",
    ]
    assert cli.main(words) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    direct = tfscale.device.load(str(folder)).generate("the quick", 6)
    assert result["text"] == direct.text and result["prompt_tokens"] > 1
    # The count is of tokens drawn, not of the text cut anew, which may have fewer.
    assert (result["tokens"], result["stopped_by"]) == (6, "length") and result[
        "tokens_per_second"
    ] > 0
    drawn = [
        tfscale.device.load(str(folder))
        .generate("the", 12, SamplingConfig(temperature=2.0, seed=s))
        .text
        for s in (1, 1, 2, 0)
    ]
    assert drawn[0] == drawn[1] != drawn[2] and drawn[1] != drawn[3]


def test_whole_numbers_beyond_those_of_the_runtime(bundle):
    model = tfscale.device.load(str(bundle[2]))
    expected = [model.generate("the", 70).text]
    assert [model.generate("the", 2**40).text] == expected
    drawn = [
        model.generate("the", 12, SamplingConfig(temperature=2.0, top_k=k)).text
        for k in (0, 2**31, 2**40)
    ]
    assert len(set(drawn)) == 1


def test_what_a_bundle_cannot_do(bundle, capsys):
    _, _, folder = bundle
    model = tfscale.device.load(str(folder))
    with pytest.raises(ConfigError, match="repetition_penalty are not for a .litertlm bundle"):
        model.generate("x", sampling=SamplingConfig(repetition_penalty=1.5))
    with pytest.raises(PromptError, match="tokens; the model's context of 64 takes at most 62"):
        model.generate("狐" * 80)
    assert cli.main(["evaluate", str(folder), "--text", __file__]) == 2
    assert "give the .tflite file" in capsys.readouterr().err


def test_a_bundle_of_a_model_with_every_part_passes(tmp_path):
    run = run_with(
        tmp_path / "run",
        "sentencepiece",
        num_layers=2,
        positions="rope",
        normalization="rms",
        query_key_norm=True,
        query_key_value_bias=True,
        sandwich_norm=True,
        attention_window=16,
        global_every=2,
        local_rope_base=50.0,
        rope_scaling="linear",
        rope_factor=4.0,
        activation="relu_squared",
        embedding_skip=True,
        attention_soft_cap=5.0,
        logit_soft_cap=10.0,
    )
    config = ExportConfig(
        output=str(tmp_path / "export"), format="litertlm", quantize="int8", parity_tokens=64
    )
    report = export_run(run, config)
    found = {row["name"]: row["value"] for row in report["checks"]}
    assert report["passed"] and found["bundle_text_equal"] == 1 and report["greedy"]["bundle"]


@pytest.mark.parametrize(
    "family, kind, message",
    [
        (
            "lstm",
            "byte",
            "needs a model with key-value caches, and one of the family lstm has none",
        ),
        ("transformer", "word", "LiteRT-LM has no tokenizer of kind word"),
    ],
)
def test_what_cannot_be_bundled(tmp_path, family, kind, message):
    with pytest.raises(ExportError, match=message):
        export_run(
            run_with(tmp_path / "run", kind, family),
            ExportConfig(output=str(tmp_path / "x"), format="litertlm"),
        )
    assert not (tmp_path / "x").exists()


def test_a_bundle_that_speaks_otherwise_is_not_written(tmp_path, monkeypatch):
    run = run_with(tmp_path / "run", "byte", num_layers=1)
    other = ByteTokenizer.bundle_file

    def shifted(tokenizer):
        text = json.loads(other(tokenizer))
        names = list(text["model"]["vocab"])
        text["model"]["vocab"] |= {names[65]: 66, names[66]: 65}
        return json.dumps(text).encode()

    monkeypatch.setattr(ByteTokenizer, "bundle_file", shifted)
    with pytest.raises(ExportError, match="bundle_ids_equal|bundle_text_equal"):
        export_run(
            run,
            ExportConfig(output=str(tmp_path / "x"), format="litertlm", parity_tokens=64),
            held_out=[65, 66, 67] * 20,
        )
    assert not (tmp_path / "x").exists()


def test_broken_bundles(bundle, tmp_path):
    _, _, folder = bundle
    content = (folder / "model.litertlm").read_bytes()
    cases = {
        b"TFL3" * 10: "is not a .litertlm bundle: it begins with b'TFL3TFL3'",
        content[:20]: "truncated or damaged",
        content[:4000]: "is truncated",
        content[:-10]: "is truncated: it has",
    }
    for number, (changed, message) in enumerate(cases.items()):
        path = tmp_path / f"{number}.litertlm"
        path.write_bytes(changed)
        with pytest.raises(ExportError, match=message):
            tfscale.device.load(str(path))
    with pytest.raises(ExportError, match="none.litertlm is missing"):
        tfscale.device.load(str(tmp_path / "none.litertlm"))


def test_a_bundle_without_its_tokenizer(bundle, tmp_path):
    from litert_lm_builder import litertlm_builder as builder

    run, _, _ = bundle
    (tmp_path / "metadata.pb").write_bytes(litertlm._metadata(run.tokenizer, 64))
    (tmp_path / "model.tflite").write_bytes(b"\0\0\0\0TFL3" * 100)
    made = builder.LitertLmFileBuilder()
    made.add_system_metadata(builder.Metadata(key="Authors", value="x", dtype=builder.DType.STRING))
    made.add_llm_metadata(str(tmp_path / "metadata.pb"))
    made.add_tflite_model(str(tmp_path / "model.tflite"), builder.TfLiteModelType.PREFILL_DECODE)
    with open(tmp_path / "bare.litertlm", "wb") as file:
        made.build(file)
    with pytest.raises(ExportError, match="has no tokenizer in it"):
        tfscale.device.load(str(tmp_path / "bare.litertlm"))


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=pytest.mark.slow if family == "transformer" else ())
        for family in CONFIGS
    ],
)
def test_a_saved_model_runs_without_tfscale(tmp_path, tokenizer, held_out, family):
    run = make_run(tmp_path / "run", make_network(family), tokenizer)
    config = ExportConfig(
        output=str(tmp_path / "export"), format="saved_model", prefill_lengths=[4, 8]
    )
    report = export_run(run, config, held_out=held_out)
    assert report["passed"] and report["signatures"]["score"] == ["tokens"]
    compared = {row["name"] for row in report["checks"]}
    if family == "transformer":
        assert {"max_logit_difference (prefill_4)", "max_logit_difference (prefill_8)"} <= compared
    program = """
import json, sys
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
outputs = model.signatures["score"](tokens=tf.constant([[256, 84, 104, 101], [256, 32, 32, 32]]))
assert not [name for name in sys.modules if name.split(".")[0] == "tfscale"]
print(json.dumps({"nll": outputs["nll"].numpy().tolist(), "signatures": sorted(model.signatures)}))
"""
    readme = (tmp_path / "export" / "README.md").read_text()
    code = readme.split("```python")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", program + code, str(tmp_path / "export" / "saved_model")],
        capture_output=True,
        text=True,
        cwd=tmp_path / "export",
    )
    assert done.returncode == 0, done.stderr
    answer, _, shown = done.stdout.partition("\n")
    assert "tf.Tensor" in shown
    found = json.loads(answer)
    logits = np.asarray(make_network(family)(np.array([[256, 84, 104], [256, 32, 32]])), np.float64)
    targets = np.array([[84, 104, 101], [32, 32, 32]])
    expected = (
        np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    )
    np.testing.assert_allclose(found["nll"], expected, atol=1e-4)
    prompts = ["prefill_4", "prefill_8"] if family == "transformer" else []
    assert found["signatures"] == sorted(["decode", "score", "serving_default", *prompts])


def test_a_saved_model_of_other_weights_is_not_written(tmp_path, tokenizer, held_out, monkeypatch):
    import tfscale.exporting.saved_model as saved_model

    monkeypatch.setattr(saved_model, "float32_copy", lambda network: make_network("lstm", seed=1))
    compare = saved_model.compare_saved_model

    def compare_with_the_network(*arguments):
        monkeypatch.setattr(saved_model, "float32_copy", lambda network: network)
        return compare(*arguments)

    monkeypatch.setattr(saved_model, "compare_saved_model", compare_with_the_network)
    run = make_run(tmp_path / "run", make_network("lstm"), tokenizer)
    with pytest.raises(ExportError, match="max_logit_difference"):
        export_run(
            run, ExportConfig(output=str(tmp_path / "x"), format="saved_model"), held_out=held_out
        )
    assert not (tmp_path / "x").exists()


def test_saved_models_hold_float32():
    with pytest.raises(
        ConfigError,
        match="expected one of none; received 'int8', which is not for format=saved_model",
    ):
        ExportConfig(output="x", format="saved_model", quantize="int8")


@pytest.mark.parametrize(
    "words, message",
    [
        (["--quantize", "int8_sparse"], "gives wrong logits without an error"),
        (["--quantize=int2"], "perplexity 89 -> 140; take int4_all"),
        (["--quantize", "int5"], "received 'int5'"),
    ],
)
def test_recipes_that_are_refused(words, message, capsys, tmp_path):
    assert cli.main(["export", "run", "--output", str(tmp_path / "x"), *words]) == 2
    assert message in capsys.readouterr().err


def test_recipes_that_are_refused_in_python():
    with pytest.raises(ConfigError, match="quantize=int8_full is not offered: 8-bit activations"):
        ExportConfig(output="x", quantize="int8_full")
    with pytest.raises(
        ConfigError,
        match="quantize: expected one of float16, int4, int4_all, int8, none; received 'int9'",
    ):
        ExportConfig(output="x", quantize="int9")


@pytest.mark.parametrize(
    ("leading_space", "texts"), [(True, (" = thing", "= thing")), (False, (" = thing",))]
)
def test_a_bundle_may_lack_the_space_that_sentencepiece_takes_away(leading_space, texts):
    class Reader:
        special = SpecialTokens(leading_space=leading_space)

    assert litertlm._texts(Reader(), " = thing") == texts
