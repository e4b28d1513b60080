"""`tfscale.open`: each kind does what it can, and says in one line what it cannot."""

import json
import subprocess
import sys

import numpy as np
import pytest

import tfscale
from tests.exporting.exported import make_run
from tests.ngram.made import make_trigrams
from tests.tasks.made import make_task
from tfscale.artifacts import opened
from tfscale.artifacts.exported import BundleArtifact, FileArtifact
from tfscale.artifacts.ngram import NGramRun
from tfscale.artifacts.run import RunArtifact
from tfscale.artifacts.task import ExportedTask
from tfscale.config import GRUConfig
from tfscale.config.tasks import ExplainConfig, SwapConfig
from tfscale.device import BundleModel
from tfscale.errors import CheckpointError, ConfigError
from tfscale.models import build_network
from tfscale.runs.save import save_run
from tfscale.tasks.predictor import TaskPredictor
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

SIZE = {"vocabulary_size": 257, "sequence_length": 8, "embedding_dim": 8, "hidden_dim": 8}


@pytest.fixture(scope="module")
def ngrams(tmp_path_factory):
    return make_trigrams(tmp_path_factory.mktemp("ngrams"), "the cat sat")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("runs") / "run")
    save_run(build_network(GRUConfig(**SIZE)), ByteTokenizer(), folder)
    return folder


class Guess(TaskPredictor):
    """The model of a task that gives every label the same chance."""

    def logits(self, ids):
        return np.zeros((len(ids), 1, 2), np.float32)


def task():
    return ExportedTask("task", Guess(make_task("classify", ByteTokenizer(), ["a", "b"])))


def test_an_n_gram_run_generates_scores_and_is_timed(ngrams, tmp_path):
    model = tfscale.open(ngrams)
    assert isinstance(model, NGramRun) and (model.kind, model.path) == ("an n-gram run", ngrams)
    assert model.generate("the c", max_tokens=2).text == "at"
    assert model.tokenizer.vocabulary_size == 257
    (tmp_path / "text.txt").write_text("the cat")
    assert model.score([str(tmp_path / "text.txt")])["tokens"] == 8
    assert model.benchmark(tokens=2, repeats=1, prompt_tokens=2)["decode_tokens_per_second"] > 0


def test_an_exported_file_is_opened_without_tensorflow(ngrams):
    code = "import sys, tfscale\nprint(tfscale.open(sys.argv[1]).kind)\n"
    code += "sys.exit('loaded' if {'tensorflow', 'keras'} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code, ngrams], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "an n-gram run\n"), done.stderr


def test_a_run_offers_its_network_and_options(run):
    model = tfscale.open(run)
    assert isinstance(model, RunArtifact) and model.kind == "a run"
    assert (model.data, model.summary) == (None, {"parameters": model.network.count_params()})
    assert model.model_config == GRUConfig(**SIZE) and model.train_config.precision == "float32"
    ids = np.zeros((1, 8), np.int32)
    assert model.network(ids).shape == (1, 8, 257)
    assert opened(model) is model
    once = tfscale.generate(model, prompt="ab", max_tokens=3)
    assert once.text == tfscale.generate(run, prompt="ab", max_tokens=3).text


CANNOT = [
    ("fill", lambda model: model.fill("a ___"), "does not read both sides of a gap; give a run of"),
    ("correct", lambda model: model.correct("a"), "does not read both sides of a gap"),
    ("predict", lambda model: model.predict("a"), "is a language model; predict needs what"),
]


@pytest.mark.parametrize(("name", "ask", "message"), CANNOT, ids=[row[0] for row in CANNOT])
def test_what_runs_and_n_grams_cannot(name, ask, message, run, ngrams):
    for path in (run, ngrams):
        with pytest.raises(ConfigError, match=f"{path} {message}") as caught:
            ask(tfscale.open(path))
        assert "\n" not in str(caught.value)


def test_what_a_file_cannot(ngrams):
    file = FileArtifact("export", tfscale.open(ngrams).model)
    with pytest.raises(ConfigError, match="export is an exported file already; give the run"):
        tfscale.export(file, output="x")
    with pytest.raises(ConfigError, match="export has no network to explain; give a folder"):
        tfscale.explain(file, text="a b")
    with pytest.raises(ConfigError, match="lime explains classifiers"):
        file.explain(ExplainConfig(text="a b", method="lime"))


def test_what_a_bundle_cannot(tmp_path):
    bundle = BundleArtifact("x.litertlm", object.__new__(BundleModel))
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("he\tshe\n")
    asked = [
        (lambda: tfscale.evaluate(bundle, text=["a"]), "is a bundle, which LiteRT-LM does not"),
        (lambda: bundle.benchmark(), "is a bundle, which LiteRT-LM times itself"),
        (lambda: bundle.score_groups(["a"], "who"), "does not score texts one by one"),
        (lambda: bundle.swap(SwapConfig(text=["a.txt"], pairs=str(pairs))), "does not score texts"),
    ]
    for ask, message in asked:
        with pytest.raises(ConfigError, match=f"x.litertlm {message}"):
            ask()


def test_what_a_task_cannot():
    with pytest.raises(ConfigError, match="task is a model of the task classify; tfscale predict"):
        tfscale.generate(task(), prompt="a")
    with pytest.raises(ConfigError, match="task is a task: give files of labelled examples"):
        tfscale.evaluate(task())
    with pytest.raises(ConfigError, match="swap is for language models"):
        task().swap(SwapConfig(text=["a.txt"], pairs="pairs.tsv"))
    with pytest.raises(ConfigError, match="give either text or file"):
        tfscale.predict(task())
    with pytest.raises(ConfigError, match="question goes with text"):
        tfscale.predict(task(), file="a.jsonl", question="who")


def test_what_is_not_there_and_what_is_not_a_path(tmp_path):
    with pytest.raises(CheckpointError, match="no/such/place does not exist; give a run folder"):
        tfscale.open("no/such/place")
    with pytest.raises(CheckpointError, match="is not a run folder: it has no config.yaml"):
        tfscale.open(tmp_path)
    with pytest.raises(ConfigError, match="target: expected a path or what tfscale.open returned"):
        tfscale.evaluate(5)


def test_groups_of_a_run_come_by_its_own_scores(tmp_path):
    model = RunArtifact(make_run(tmp_path / "r", build_network(GRUConfig(**SIZE)), ByteTokenizer()))
    rows = [{"text": "ab", "who": "x"}, {"text": "cd", "who": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = tfscale.evaluate(model, text=str(tmp_path / "a.jsonl"), slice_by="who")
    assert set(found["groups"]) == {"x", "y"} and found["metric"] == "perplexity"
