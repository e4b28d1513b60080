"""Multiple choice from the file to the figures: accuracies and errors by hand, prompts with examples, mistakes."""

import gzip
import json
import math

import numpy as np
import pytest

import tfscale
from tests.evaluation.test_choice_forms import LAMBADA, MMLU, OWN
from tests.exporting.exported import make_run
from tfscale import cli
from tfscale.artifacts.exported import BundleArtifact
from tfscale.artifacts.run import RunArtifact
from tfscale.config import BiLSTMConfig
from tfscale.device import BundleModel
from tfscale.errors import ConfigError, DataError
from tfscale.evaluation.choosing import evaluate_choices
from tfscale.evaluation.continuations import ContinuationModel, Scored
from tfscale.files.paths import write_json
from tfscale.models import build_network
from tfscale.ngram import count_ngrams, estimate
from tfscale.ngram.files import describe, write_model
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


class Table:
    """A model whose log-likelihood of each continuation is given by the text of it."""

    def __init__(self, nats, context_length=None):
        self.nats, self.prompts = nats, []
        self.model = ContinuationModel(ByteTokenizer(), context_length, self.score)

    def score(self, rows, progress):
        texts = [bytes(row.tokens).decode() for row in rows]
        self.prompts += [bytes(row.context[1:]).decode() for row in rows]
        return [Scored(self.nats[text], text == " ship") for text in texts]


def test_accuracy_and_its_errors_by_hand(tmp_path):
    rows = [
        # Per character: -6 / 3 and -5 / 1.
        {"context": "q", "choices": ["abc", "d"], "label": 0},
        {"context": "q", "choices": ["abc", "d"], "label": 1},
        # 2 bytes, but 1 character: -3 / 1 and -4 / 2.
        {"context": "q", "choices": ["é", "fg"], "label": 0},
        {"context": "q", "choices": ["d", "h", "h"], "label": 1},
    ]
    table = Table({" abc": -6.0, " d": -5.0, " é": -3.0, " fg": -4.0, " h": -1.0})
    result = evaluate_choices(table.model, "choices", [write(tmp_path / "a.jsonl", rows)])
    # Right: no, yes, yes, yes (the first of two that are equal); by length yes, no, no, yes.
    assert (result["acc"], result["acc_stderr"]) == (0.75, 0.25)
    assert (result["acc_norm"], result["acc_norm_stderr"]) == (0.5, pytest.approx(12**-0.5))
    assert result["chance"] == pytest.approx((3 / 2 + 1 / 3) / 4)
    assert (result["examples"], result["cut"], result["unknown_tokens"]) == (4, 0, None)
    assert "groups" not in result


def test_an_empty_choice_is_never_the_likeliest_for_its_length(tmp_path):
    rows = [{"context": "q", "choices": ["", "abc"], "label": gold} for gold in (0, 1)]
    table = Table({" ": -0.5, " abc": -90.0})
    result = evaluate_choices(table.model, "choices", [write(tmp_path / "a.jsonl", rows)])
    assert (result["acc"], result["acc_norm"]) == (0.5, 0.5)
    one = evaluate_choices(table.model, "choices", [write(tmp_path / "b.jsonl", rows[1:])])
    assert (one["acc"], one["acc_norm"]) == (0.0, 1.0)


def test_lambada_by_hand(tmp_path):
    rows = [LAMBADA, {"text": "and the boat"}]
    table = Table({" ship": -1.0, " boat": -2.0})
    result = evaluate_choices(table.model, "lambada", [write(tmp_path / "a.jsonl", rows)])
    assert result["acc"] == 0.5 and result["perplexity"] == pytest.approx(math.exp(1.5))
    assert result["perplexity_stderr"] == pytest.approx(math.exp(1.5) * 0.5)
    assert "chance" not in result and table.prompts[1] == "and the"


def test_examples_are_of_the_same_subject_and_not_the_question_itself(tmp_path):
    about = "The following are multiple choice questions (with answers) about"
    other = MMLU | {"subject": "world_history", "question": "Who?", "answer": 0}
    second = MMLU | {"question": "Which?", "answer": 1}
    text = write(tmp_path / "a.jsonl", [MMLU, other])
    shots = write(tmp_path / "dev.jsonl", [MMLU, other | {"question": "When?"}, second])
    table = Table({" A": -4.0, " B": -3.0, " C": -2.0, " D": -1.0})
    result = evaluate_choices(table.model, "mmlu", [text], shots=1, shots_text=[shots])
    body = "\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer:"
    assert table.prompts[0] == (
        f"{about} abstract algebra.\n\nWhich?{body} B\n\nFind all c in Z_3.{body}"
    )
    assert table.prompts[4] == f"{about} world history.\n\nWhen?{body} A\n\nWho?{body}"
    assert (result["acc"], result["shots"], result["acc_stderr"]) == (0.0, 1, None)
    none = {"examples": 1, "acc": 0.0, "acc_stderr": None}
    assert result["groups"] == {"abstract_algebra": none, "world_history": none}


def test_what_does_not_fit_is_counted_or_refused(tmp_path):
    rows = [OWN, {"context": "a", "choices": ["blue", "green"], "label": 0}]
    text = write(tmp_path / "a.jsonl", rows)
    table = Table({" blue": -1.0, " green": -2.0}, context_length=8)
    # The start token and 10 bytes, of which 8 - 5 + 1 and 8 - 6 + 1 are left.
    assert evaluate_choices(table.model, "choices", [text])["cut"] == 2
    assert table.prompts[:2] == ["y is"[1:], "is"] and table.prompts[2:] == ["a", "a"]
    with pytest.raises(DataError, match="line 1: a choice has 6 tokens, and the model reads 5"):
        evaluate_choices(Table({}, context_length=5).model, "choices", [text])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shots": 1}, ConfigError, "shots=1 and shots_text=.. go together"),
        ({"shots_text": ["a"]}, ConfigError, "shots=0 and shots_text=.'a'. go together"),
        ({"shots": -1}, ConfigError, "shots=-1 is out of range; expected 0 or more"),
        ({"form": "choice"}, ConfigError, "no form of multiple choice 'choice'; did you mean"),
    ],
)
def test_options_that_cannot_be(options, error, message):
    given = {"form": "choices", "text": ["no.jsonl"]} | options
    with pytest.raises(error, match=message):
        evaluate_choices(Table({}).model, **given)


def test_records_that_cannot_be_are_named_with_their_place(tmp_path):
    text = write(tmp_path / "a.jsonl", [OWN, OWN | {"label": 7}])
    with pytest.raises(DataError, match="a.jsonl, line 2: the right choice is number 7; expected"):
        evaluate_choices(Table({}).model, "choices", [text])
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(DataError, match="a.txt: examples are read from .* files"):
        evaluate_choices(Table({}).model, "choices", [str(tmp_path / "a.txt")])
    text = write(tmp_path / "b.jsonl", [])
    with pytest.raises(DataError, match="b.jsonl has no questions"):
        evaluate_choices(Table({}).model, "choices", [text])
    text = write(tmp_path / "c.jsonl", [MMLU])
    with pytest.raises(DataError, match="c.jsonl, line 1: 1 examples of abstract_algebra should"):
        evaluate_choices(Table({}).model, "mmlu", [text], shots=1, shots_text=[text])
    text = write(tmp_path / "d.jsonl", [OWN | {"choices": ["\ud800", "a"]}])
    with pytest.raises(DataError, match="d.jsonl, line 1: the text has a lone surrogate"):
        evaluate_choices(Table({}).model, "choices", [text])


@pytest.fixture(scope="module")
def ngrams(tmp_path_factory):
    """Trigrams of bytes of a text in which the sky is blue."""
    tokenizer, folder = ByteTokenizer(), tmp_path_factory.mktemp("ngrams")
    ids = np.array([*tokenizer.encode("the sky is blue"), tokenizer.end_id] * 5)
    with count_ngrams([ids], order=3, vocabulary_size=257, end_id=256) as counts:
        model = estimate(counts, vocabulary_size=257, end_id=256)
    tokenizer.save(str(folder / "tokenizer"))
    write_model(model, str(folder / "model.ngram"))
    described = describe(model, tokenizer, str(folder / "model.ngram"))
    write_json(str(folder / "model.json"), described.to_dict())
    return str(folder)


def test_the_command_on_packed_files(ngrams, tmp_path, capsys):
    rows = [OWN | {"context": "the sky is"}] * 2
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    words = ["evaluate", ngrams, "--choices", "choices", "--text", str(path)]
    assert cli.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["acc"], result["acc_stderr"], result["chance"]) == (1.0, 0.0, 0.5)
    assert result == json.loads(
        json.dumps(tfscale.evaluate(ngrams, text=[str(path)], choices="choices"))
    )
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "standard error" in shown and "acc_norm" in shown and "accuracy of guessing" in shown


def test_the_command_shows_groups_and_examples(ngrams, tmp_path, capsys):
    text = write(tmp_path / "a.jsonl", [MMLU, MMLU | {"subject": "anatomy"}])
    more = [MMLU | {"question": "x"}, MMLU | {"question": "x", "subject": "anatomy"}]
    shots = write(tmp_path / "b.jsonl", more)
    words = ["--choices", "mmlu", "--text", text, "--shots", "1", "--shots-text", shots]
    assert cli.main(["evaluate", ngrams, *words]) == 0
    shown = capsys.readouterr().out
    assert "abstract_algebra" in shown and "examples before each question  1" in shown


def test_what_does_not_go_together(ngrams, tmp_path):
    text = write(tmp_path / "a.jsonl", [OWN])
    cases = [
        ({"choices": "choices"}, "choices are in files of questions: text, such as JSONL"),
        ({"choices": "choices", "data": "data"}, "not in data"),
        ({"choices": "choices", "text": text, "slice_by": "x"}, "slice_by='x' does not go with"),
        ({"choices": "choices", "text": text, "text_field": "x"}, "text_field='x' does not go"),
        ({"shots": 2, "text": text}, "shots and shots_text are examples before questions"),
    ]
    for options, message in cases:
        with pytest.raises(ConfigError, match=message):
            tfscale.evaluate(ngrams, **options)


def test_models_that_cannot_be_asked(tmp_path):
    size = {"vocabulary_size": 257, "sequence_length": 8, "embedding_dim": 8, "hidden_dim": 8}
    network = build_network(BiLSTMConfig(**size))
    both_sides = RunArtifact(make_run(tmp_path / "r", network, ByteTokenizer()))
    bundle = BundleArtifact("x.litertlm", object.__new__(BundleModel))
    text = write(tmp_path / "a.jsonl", [OWN])
    with pytest.raises(ConfigError, match="does not predict the next token, by which choices are"):
        tfscale.evaluate(both_sides, text=text, choices="choices")
    with pytest.raises(ConfigError, match="x.litertlm is a bundle, which LiteRT-LM does not score"):
        tfscale.evaluate(bundle, text=text, choices="choices")


class Riddles(tfscale.ChoiceForm):
    """A form outside the package."""

    name, summary = "riddles", "a riddle and two answers"

    def read(self, fields):
        return tfscale.Choices(fields["riddle"], (fields["right"], fields["wrong"]), gold=0)


def test_a_registered_form_is_a_choice_of_the_command(ngrams, tmp_path, monkeypatch, capsys):
    from tfscale.registry import CHOICE_FORMS

    monkeypatch.setattr(CHOICE_FORMS, "_registered", dict(CHOICE_FORMS._registered))
    tfscale.register(Riddles)
    text = write(tmp_path / "a.jsonl", [{"riddle": "the sky is", "right": "blue", "wrong": "z"}])
    words = ["evaluate", ngrams, "--choices", "riddles", "--text", text, "--json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["acc"] == 1.0
