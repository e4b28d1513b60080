"""Tokenizers of other libraries from text to a file, by the command line: files come back out as they were."""

import json

import numpy as np
import pytest

import tfscale
from tests.text.theirs import llama3, sentencepiece_model
from tfscale import cli

TEXT = [
    f"Chapter {n}. The {n % 7} cats of house {n % 5} saw {n % 3} birds <|eot_id|> and slept, naïve."
    for n in range(60)
]
# <|end_of_text|> and <|eot_id|>.
STOPS = [354, 357]
CONFIG = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|end_of_text|>",
    "chat_template": "{% for m in messages %}{{ m }}{% endfor %}",
}


def command(capsys, *words):
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(params=["tokenizer.json", pytest.param("spiece.model", marks=pytest.mark.slow)])
def theirs(request, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    if request.param == "tokenizer.json":
        (folder / "tokenizer.json").write_bytes(llama3(TEXT))
        (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG))
        (folder / "generation_config.json").write_text('{"eos_token_id": [999999]}')
    else:
        (folder / "spiece.model").write_bytes(sentencepiece_model(TEXT * 3, "t5"))
    return folder


def test_their_files_come_back_out_as_they_were(theirs, tmp_path, capsys):
    """Of data and run; an export for a device has the tokenizer itself, and the file gives vectors."""
    data, run, exported = (str(tmp_path / name) for name in ("data", "run", "export"))
    (tmp_path / "text.txt").write_text("\n\n".join(TEXT), encoding="utf-8")
    words = ["prepare", "--text", str(tmp_path / "text.txt"), "--documents", "paragraph"]
    prepare = [*words, "--tokenizer-from", str(theirs), "--output", data]
    if (broken := theirs / "generation_config.json").exists():
        # Found before anything is written.
        assert cli.main(prepare) == 2
        assert (
            "token id 999999 is not in the vocabulary" in capsys.readouterr().err
            and not (tmp_path / "data").exists()
        )
        broken.write_text(json.dumps({"eos_token_id": STOPS}))
    command(capsys, *prepare)
    sizes = ["--model.hidden_dim", "16", "--model.num_layers", "1", "--model.num_heads", "2"]
    steps = ["--train.steps", "2", "--train.global_batch_size", "2", "--train.xla", "off"]
    length = ["--model.sequence_length", "32"]
    command(capsys, "train", "--data", data, "--output", run, *sizes, *length, *steps)
    small = ["--parity-tokens", "24", "--prefill-lengths", "8"]
    command(capsys, "export", run, "--output", exported, "--embedding", "true", *small)
    given = {file.name: file.read_bytes() for file in theirs.iterdir()}
    given.pop("generation_config.json", None)  # It is the model's.
    for folder in (data, run):
        assert tfscale.load_tokenizer(folder).given_files() == given
    [(name, content)] = tfscale.load_tokenizer(exported).given_files().items()
    assert content == given[name]
    # A SentencePiece model has the one name by which apps find it.
    file = tmp_path / "export" / "tokenizer" / name.replace("spiece", "tokenizer")
    assert file.read_bytes() == content
    described = json.loads((tmp_path / "export" / "model.json").read_text())
    pieces = {id: text for text, id in described["special_tokens"].items()}
    if "tokenizer.json" in given:
        assert pieces[described["start_id"]] == "<|begin_of_text|>"
        assert [pieces[id] for id in described["stop_ids"]] == ["<|end_of_text|>", "<|eot_id|>"]
        assert {"<|start_header_id|>", "<|end_header_id|>"} <= set(pieces.values())
    else:
        assert [pieces[id] for id in described["stop_ids"]] == ["</s>"]
    vectors = tfscale.embed(exported, TEXT[:3])
    np.testing.assert_allclose(vectors, tfscale.embed(run, TEXT[:3]), atol=2e-5, rtol=1e-4)
    assert tfscale.generate(exported, prompt="The cats", max_tokens=4).prompt_tokens > 1
    readme = (tmp_path / "export" / "README.md").read_text()
    assert "signature `embed`, which reads 32 tokens" in readme
