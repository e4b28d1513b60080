"""lm-evaluation-harness itself, where it is installed (`pip install lm-eval`): the same figures on made-up files.

Its task definitions are read from the installed package; a model of its interface answers by the whole forward pass.
"""

import importlib.util
import json
import random
from pathlib import Path

import numpy as np
import pytest
import yaml

import tfscale
from tests.exporting.exported import make_run
from tfscale.artifacts.run import RunArtifact
from tfscale.config import TransformerConfig
from tfscale.evaluation import choosing
from tfscale.models import build_network
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer

# Other packages' own, when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")
CASES = [
    ("hellaswag", "hellaswag/hellaswag.yaml", 0),
    ("hellaswag", "hellaswag/hellaswag.yaml", 1),
    ("arc", "arc/arc_easy.yaml", 0),
    ("arc", "arc/arc_challenge.yaml", 2),
    ("piqa", "piqa/piqa.yaml", 0),
    ("piqa", "piqa/piqa.yaml", 2),
    ("mmlu", "mmlu/default/mmlu_abstract_algebra.yaml", 0),
    ("mmlu", "mmlu/default/mmlu_abstract_algebra.yaml", 5),
    ("lambada", "lambada/lambada_openai.yaml", 0),
    ("lambada", "lambada/lambada_standard.yaml", 2),
]


def record(form, rng):
    """A made-up record with the fields of the hub."""

    def words(least, most):
        known = "the cat Dog sat [title] on [x] mat  tree é 狐 red".split(" ")
        return " ".join(rng.choice(known) for _ in range(rng.randint(least, most)))

    return {
        "hellaswag": lambda: {
            "activity_label": words(1, 2),
            "ctx_a": words(2, 6),
            "ctx_b": rng.choice(["", "the Man"]),
            "endings": [words(1, 5) + "." for _ in range(4)],
            "label": str(rng.randint(0, 3)),
        },
        "arc": lambda: {
            "question": words(2, 6),
            "choices": {"text": [words(1, 3) for _ in range(4)], "label": list("ABCD")},
            "answerKey": rng.choice("ABCD"),
        },
        "piqa": lambda: {
            "goal": words(2, 6),
            "sol1": words(1, 5),
            "sol2": words(1, 5),
            "label": rng.randint(0, 1),
        },
        "mmlu": lambda: {
            "question": f" {words(2, 6)} ",
            "subject": "abstract_algebra",
            "choices": [words(1, 2) for _ in range(4)],
            "answer": rng.randint(0, 3),
        },
        "lambada": lambda: {"text": f"{words(4, 30)} {rng.choice(['mat', 'a'])}"},
    }[form]()


def definition(folder, path):
    """A task of the harness as a dictionary, with what it includes and the functions that it names."""

    class Loader(yaml.SafeLoader):
        pass

    def function(loader, node):
        module, name = loader.construct_scalar(node).split(".")
        place = (folder / path).parent / f"{module}.py"
        spec = importlib.util.spec_from_file_location(module, place)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return getattr(loaded, name)

    Loader.add_constructor("!function", function)
    own = yaml.load((folder / path).read_text(encoding="utf-8"), Loader)  # noqa: S506
    included = own.pop("include", None)
    base = definition(folder, str(Path(path).parent / included)) if included else {}
    return base | own


def adapter(template, model):
    """The run as a model of the harness, which cuts texts and counts tokens by its own code."""
    network, tokenizer = model.network, model.tokenizer
    length = network.config.sequence_length

    class Answers(template):
        backend = "causal"
        eot_token_id = tokenizer.end_id
        prefix_token_id = tokenizer.start_id

        def tok_encode(self, string, add_special_tokens=None, **_):
            start = [] if add_special_tokens is False else list(tokenizer.prompt_start)
            return start + tokenizer.encode(string)

        def _loglikelihood_tokens(self, requests, **_):
            answers = []
            for _, context, rest in requests:
                read = (context + rest)[-(length + 1) :][:-1]
                logits = np.asarray(network(np.array([read], np.int32)), np.float64)[0][
                    -len(rest) :
                ]
                logs = logits - logits.max(-1, keepdims=True)
                logs -= np.log(np.exp(logs).sum(-1, keepdims=True))
                nats = logs[np.arange(len(rest)), rest].sum()
                answers.append((float(nats), bool((logits.argmax(-1) == rest).all())))
            return answers

        def loglikelihood_rolling(self, requests, **_):
            raise NotImplementedError

        def generate_until(self, requests, **_):
            raise NotImplementedError

    return Answers()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with clear winners, whose context is shorter than some prompts."""
    config = TransformerConfig(
        vocabulary_size=257, sequence_length=160, hidden_dim=16, num_layers=1, num_heads=2
    )
    network = build_network(config, seed=3)
    network.set_weights([4 * w if w.ndim > 1 else w for w in network.get_weights()])
    return RunArtifact(make_run(tmp_path_factory.mktemp("run"), network, ByteTokenizer()))


@pytest.mark.parametrize(("form", "path", "shots"), CASES)
def test_figures_are_those_of_the_harness(form, path, shots, model, tmp_path, monkeypatch):
    lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
    from lm_eval import evaluator
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.task import ConfigurableTask

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DISABLE_MULTIPROC", "1")
    rng, files = random.Random(shots), {}
    for name, count in (("eval", 40), ("shots", 8)):
        files[name] = str(tmp_path / f"{name}.jsonl")
        rows = [json.dumps(record(form, rng)) + "\n" for _ in range(count)]
        Path(files[name]).write_text("".join(rows), encoding="utf-8")

    own = definition(Path(lm_eval.__file__).parent / "tasks", path)
    removed = (
        "dataset_name training_split validation_split fewshot_split tag task_alias fewshot_config"
    )
    own = {key: value for key, value in own.items() if key not in removed.split()}
    own |= {"task": "one", "dataset_path": "json", "test_split": "eval", "num_fewshot": shots}
    own |= {"fewshot_split": "shots", "fewshot_config": {"sampler": "first_n"}}
    cache = {"data_files": files, "cache_dir": str(tmp_path / "cache")}
    task = ConfigurableTask(config=own | {"dataset_kwargs": cache})
    answers = evaluator.evaluate(
        lm=adapter(TemplateLM, model), task_dict={"one": task}, bootstrap_iters=2000
    )
    theirs = {key.split(",")[0]: value for key, value in answers["results"]["one"].items()}
    likelihoods = [one for row in answers["samples"]["one"] for one in row["filtered_resps"]]

    kept, score = [], choosing._scored
    monkeypatch.setattr(choosing, "_scored", lambda *given: kept.extend(score(*given)) or kept)
    found = tfscale.evaluate(
        model,
        choices=form,
        text=files["eval"],
        shots=shots,
        shots_text=[files["shots"]] if shots else [],
    )
    assert [one.greedy for one in kept] == [greedy for _, greedy in likelihoods]
    expected = [pytest.approx(nats, abs=1e-4) for nats, _ in likelihoods]
    assert [one.log_likelihood for one in kept] == expected
    metrics = {key for key in found if key in theirs and key != "perplexity_stderr"}
    assert metrics >= {"acc", "acc_stderr"}
    for name in metrics:
        assert found[name] == pytest.approx(theirs[name], rel=1e-5), name
