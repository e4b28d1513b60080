"""A smaller vocabulary as a step of the search: figures that compare, sizes before training, whole searches, refusals."""

import contextlib
import io
import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import yaml

import tfscale.workflows.search.measure as measure_module
import tfscale.workflows.search.search as search_module
import tfscale.workflows.search.trials as trials_module
from tests.gpt2 import gpt2
from tests.workflows.search.quick import SIZES, TIMING, quick_search
from tfscale import cli
from tfscale.config import ExportConfig, PrepareConfig, TrainConfig
from tfscale.config.compression import CompressConfig, SearchConfig
from tfscale.config.families import transformer
from tfscale.data.prepare import prepare
from tfscale.data.tokens import split_stream
from tfscale.device import load
from tfscale.errors import ConfigError, TokenizerError
from tfscale.exporting.tflite import export_tflite
from tfscale.models import build_network
from tfscale.models.weight_formats import stored_bytes
from tfscale.runs.folder import load_run
from tfscale.runs.train import train
from tfscale.text.score import Score
from tfscale.text.tokenizers import load_tokenizer, train_tokenizer
from tfscale.workflows.search.candidates import Trimming, candidates
from tfscale.workflows.search.measure import Sample, Samples, measure
from tfscale.workflows.search.search import search_run
from tfscale.workflows.search.target import read_target

WORDS = "the red cat ran and the old dog sat under a big blue mat while seven grey birds watched quietly".split()
CONFIG = gpt2(vocabulary_size=300, sequence_length=16, hidden_dim=32, num_layers=1, num_heads=2)


def sentences(seed, words, count):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, 7)) + ".\n" for _ in range(count)]


def test_candidates_of_a_smaller_vocabulary(monkeypatch):
    monkeypatch.setattr(transformer, "_LADDER", SIZES)
    found = {
        c.name: c
        for c in candidates(CONFIG, 1000, False, row_bytes=12, trimming=Trimming(200, 0.9))
    }
    plain = candidates(CONFIG, 1000, False, row_bytes=12)
    assert [c for c in found.values() if not c.vocabulary_size] == plain
    for quantize in ("int8", "int4", "int4_all"):
        # Rows are those of the tokens and of the 16 positions.
        whole, small = found[quantize], found[f"{quantize}-vocab200"]
        network = build_network(gpt2(**{**vars(CONFIG), "vocabulary_size": 200}))
        assert small.bytes == stored_bytes(network, quantize) + 1000 + 12 * (200 + 16) < whole.bytes
        assert small.kept == pytest.approx(0.9 * whole.kept) and not small.tuned
        assert (
            small.describe()["sizes"] == {"vocabulary_size": 200}
            and whole.describe()["sizes"] == {}
        )
    # What its tokens lost, training may bring back, unlike what int8 loses.
    assert "int8-vocab200-tuned" in found and "int8-tuned" not in found


class Uniform:
    """A file to which all of its tokens are equally likely."""

    def __init__(self, size):
        self.size = size

    def score(self, tokens, utf8_bytes):
        return Score(len(tokens) * np.log(self.size), len(tokens), utf8_bytes)


def test_perplexities_of_other_tokens_compare_by_hand(monkeypatch):
    monkeypatch.setattr(measure_module, "_timing", lambda folder: TIMING)
    monkeypatch.setattr(measure_module, "load", lambda folder: Uniform(4))
    # 6 tokens of 2 bits for a text of 4 tokens and 8 bytes: 12 bits, 3 a token of the run's own, 1.5 a byte.
    sample = Sample(tokens=[0, 1, 2, 3, 0, 1], utf8_bytes=8, counted=4)
    report = {"sizes": {"file_bytes": 1, "gzip_bytes": 1}}
    found = measure("", Samples(sample, Sample([3, 3], 1, 2)), report)
    assert found["perplexity"] == pytest.approx(2**3) and found["bits_per_byte"] == pytest.approx(
        1.5
    )
    assert found["target_perplexity"] == pytest.approx(4) and found[
        "target_bits_per_byte"
    ] == pytest.approx(4)
    assert "target_perplexity" not in measure("", Samples(sample), report)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data/, a trained Transformer in run/, and mine.txt, which has a few of its words."""
    root = tmp_path_factory.mktemp("target")
    (root / "text.txt").write_text("".join(sentences(0, WORDS, 400)))
    (root / "mine.txt").write_text("".join(sentences(1, WORDS[:8], 60)))
    (root / "empty.txt").write_text("")
    config = PrepareConfig(
        text=[str(root / "text.txt")],
        documents="line",
        vocabulary_size=315,
        output=str(root / "data"),
    )
    prepare(config, progress=False)
    options = TrainConfig(
        optimizer="adamw",
        steps=30,
        global_batch_size=8,
        warmup_steps=2,
        learning_rate=1e-2,
        tensorboard=False,
        xla="off",
    )
    model = gpt2(sequence_length=16, hidden_dim=32, num_layers=1, num_heads=2)
    train(model, options, data=str(root / "data"), output=str(root / "run"), progress=False)
    return root


@pytest.fixture
def quick():
    with quick_search("int8"):
        yield


def words_of(folder, output, *more, text="mine.txt"):
    words = f"--output {folder / output} --target-text {folder / text}"
    words += " --steps 12 --candidate-steps 12 --evaluation-tokens 250 --json"
    return ["compress", str(folder / "run"), *words.split(), *more]


def json_of(printed):
    return json.loads(printed.splitlines()[-1])


@dataclass
class Searched:
    """A search that has ended: its command, the size that it was given, and what it printed."""

    words: list[str]
    bound: int
    result: dict

    @property
    def names(self):
        """The candidate with a smaller vocabulary, and the same one smaller and trained."""
        return list(self.result["candidates"])[1:]


@pytest.fixture(scope="module")
def searched(folder):
    """A search that was stopped at its first file of the smaller vocabulary, and went on.

    Without rows of the table the file is smaller by 40 bytes a row and more, and nothing else is
    trained: only the smaller vocabulary fits into `bound`.
    """
    network = load_run(str(folder / "run")).network
    bound = len(export_tflite(network, "int8", ExportConfig(output="").prefill_lengths)) - 500
    words = words_of(folder, "small", "--target-size", str(bound))

    def stop_at_the_smaller_vocabulary(output, *rest):
        if "vocab" in output:
            raise KeyboardInterrupt
        return measure(output, *rest)

    with quick_search("int8"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trials_module, "measure", stop_at_the_smaller_vocabulary)
            assert cli.main(words) == 130
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert cli.main(words) == 0
    return Searched(words, bound, json_of(printed.getvalue()))


@pytest.mark.slow
def test_only_the_smaller_vocabulary_fits(folder, searched):
    tokenizer = load_tokenizer(str(folder / "small" / "trimmed" / "run"))
    size, tried = tokenizer.vocabulary_size, searched.result["candidates"]
    plain, tuned = f"int8-vocab{size}", f"int8-vocab{size}-ff64-tuned"
    # That the trimmed file fits is not enough where nothing bounds its loss.
    assert list(tried) == ["int8", plain, tuned] and size < 315
    assert tried[plain]["bytes"] <= searched.bound < tried["int8"]["bytes"]
    # On the target text, whose tokens are all there, nothing is lost; on the other text much is, and learned again.
    assert tried[plain]["target_increase"] < 0 < tried[tuned]["increase"] < tried[plain]["increase"]
    assert searched.result["best"] == tuned and searched.result["met"]
    assert tuned in searched.result["pareto"]
    path = folder / "small" / "candidates" / tuned / "run" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    assert config["model"]["vocabulary_size"] == size
    assert config["data"] == str(folder / "small" / "trimmed" / "data")


def test_its_figures_by_hand(folder, searched):
    """The lines of the split, encoded one by one, over the tokens of the run's own tokenizer."""
    own = load_run(str(folder / "run")).tokenizer
    model = load(str(folder / "small" / "export"))
    tokenizer = load_tokenizer(str(folder / "small" / "trimmed" / "run"))
    assert model.tokenizer.digest == tokenizer.digest
    stream = split_stream(str(folder / "data"), "validation")[:250].tolist()
    ids, line = [], []
    for token in stream:
        if token == own.end_id:
            ids += [*tokenizer.encode(own.decode(line)), tokenizer.end_id]
            line = []
        else:
            line.append(token)
    ids += tokenizer.encode(own.decode(line))
    nll, utf8_bytes = model.score(ids).nll, len(own.decode(stream).encode())
    best = searched.result["candidates"][searched.result["best"]]
    assert len(ids) > len(stream)
    assert best["perplexity"] == pytest.approx(np.exp(nll / len(stream)))
    assert best["bits_per_byte"] == pytest.approx(nll / np.log(2) / utf8_bytes)


def test_its_file_scores_the_text_and_its_page_shows_it(folder, searched, capsys):
    export, text = str(folder / "small" / "export"), str(folder / "mine.txt")
    assert cli.main(["evaluate", export, "--text", text, "--json"]) == 0
    assert json_of(capsys.readouterr().out)["tokens"] > 0
    page = (folder / "small" / "report.html").read_text()
    assert "target %" in page and searched.names[0] in page and "per token of the run" in page


def test_it_goes_on_with_a_text_that_was_moved(folder, searched, quick, capsys, monkeypatch):
    """Nothing is done twice. Of a file without training the run is the trimmed one."""
    plain = searched.names[0]
    shutil.copy(folder / "mine.txt", folder / "moved.txt")
    moved = [word.replace("mine.txt", "moved.txt") for word in searched.words]
    monkeypatch.setattr(search_module, "choose", lambda *_: plain)
    exports = []
    monkeypatch.setattr(trials_module, "export_run", lambda *_, **__: exports.append(1))
    assert cli.main(moved) == 0 and not exports
    trimmed = str(folder / "small" / "trimmed" / "run")
    assert json_of(capsys.readouterr().out)["run"] == trimmed
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([word for word in moved if word != "--json"]) == 0
    printed = capsys.readouterr().out
    assert "target %" in printed and f"all bounds are met by {plain}" in printed


def test_another_text_or_none_is_refused(searched, quick, capsys):
    assert cli.main([word.replace("mine.txt", "text.txt") for word in searched.words]) == 2
    assert "was begun with target_text=" in capsys.readouterr().err
    without = [w for w in searched.words if w != "--target-text" and "mine.txt" not in w]
    assert cli.main(without) == 2
    assert "now it is None" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, message",
    [
        ("none.txt", "text file or folder does not exist: "),
        ("empty.txt", "the target text is empty: "),
    ],
    ids=["missing", "empty"],
)
def test_texts_that_are_refused(folder, text, message, capsys):
    assert cli.main(words_of(folder, "never", "--target-size", "50kB", text=text)) == 2
    assert message in capsys.readouterr().err and not os.path.exists(folder / "never")


def test_tokenizers_that_keep_all_their_tokens(folder):
    byte = train_tokenizer("byte", [], 257)
    with pytest.raises(
        TokenizerError, match="the vocabulary of a byte tokenizer cannot be trimmed"
    ):
        read_target([str(folder / "none.txt")], "line", byte, 100)
    # Each token on a line of its own, and no candidates without any.
    tokenizer = load_tokenizer(str(folder / "run"))
    pieces = [tokenizer.decode([id]) for id in range(tokenizer.vocabulary_size)]
    (folder / "every.txt").write_text("\n".join(pieces))
    notes = []
    bounds = SearchConfig(target_size="1kB", target_text=[str(folder / "every.txt")])
    with pytest.raises(ConfigError, match="is out of reach"):
        search_run(
            str(folder / "run"), CompressConfig(output=str(folder / "never")), bounds, notes.append
        )
    assert notes == [
        "every token of the vocabulary occurs in the target text: there are no candidates without any"
    ]


def test_a_target_text_without_a_bound():
    with pytest.raises(ConfigError, match="target_text has no effect without a bound"):
        SearchConfig(target_text=["mine.txt"])
