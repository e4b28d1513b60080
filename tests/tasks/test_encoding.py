"""Examples as ids and targets by hand, and predictions from logits that say what they mean."""

import numpy as np
import pytest

from tests.tasks.made import make_task
from tfscale.errors import DataError, TokenizerError
from tfscale.tasks.examples import Example
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.training import train_tokenizer

BYTES = ByteTokenizer()
END = BYTES.end_id
ANSWER_TAGS = ["O", "B-ANSWER", "I-ANSWER"]


def certain(targets, labels, rows):
    logits = np.full((rows, labels), -10.0)
    logits[np.arange(rows), targets] = 10.0
    return logits


def test_a_label_of_a_text():
    task = make_task("classify", BYTES, ["bad", "good"], 6)
    example = Example("here", "ab", ("good",))
    encoded = task.encode(example)
    assert encoded.ids.tolist() == [END, 97, 98, END, END, END]
    targets, weights = task.targets(example, encoded)
    assert targets.tolist() == [1] and weights.tolist() == [1.0]
    found = task.decode(np.array([[0.0, np.log(3.0)]]), example, encoded)
    assert found["label"] == "good" and found["probabilities"] == pytest.approx(
        {"bad": 0.25, "good": 0.75}
    )
    # What is too long is cut, and still ends with the end token.
    assert task.encode(Example("here", "abcdefgh")).ids.tolist() == [END, 97, 98, 99, 100, END]
    with pytest.raises(
        DataError,
        match="here: label 'fair' does not occur in the training examples; they have bad, good",
    ):
        task.targets(Example("here", "ab", ("fair",)), encoded)


def test_several_labels_of_a_text():
    task = make_task("classify", BYTES, ["x", "y", "z"], 6, labels_separator=",")
    example = Example("here", "ab", ("z", "x"))
    targets, weights = task.targets(example, task.encode(example))
    assert targets.tolist() == [1, 0, 1] and weights.sum() == pytest.approx(1)
    logits = np.array([[0, np.log(4.0)], [0, -2.0], [0, 1.0]])
    found = task.decode(logits, example, task.encode(example))
    assert found["labels"] == ["x", "z"] and found["probabilities"]["x"] == pytest.approx(0.8)


def test_tags_stand_at_the_first_token_of_each_word():
    labels = ["B-PER", "I-PER", "O"]
    task = make_task("tag", BYTES, labels, 12)
    example = Example("here", "Ann B left", ("B-PER", "I-PER", "O"), ("Ann", "B", "left"))
    encoded = task.encode(example)
    assert encoded.ids.tolist() == [END, *b"Ann B left", END]
    assert encoded.places == [1, 4, 6]
    targets, weights = task.targets(example, encoded)
    assert targets[[1, 4, 6]].tolist() == [0, 1, 2] and np.flatnonzero(weights).tolist() == [
        1,
        4,
        6,
    ]
    assert task.decode(certain(targets, 3, 12), example, encoded)["tags"] == [
        "B-PER",
        "I-PER",
        "O",
    ]
    # An I- that follows O is read as the beginning of an entity.
    targets[1] = 2
    assert task.decode(certain(targets, 3, 12), example, encoded)["tags"] == ["O", "B-PER", "O"]
    short = make_task("tag", BYTES, labels, 6)
    encoded = short.encode(example)
    targets, weights = short.targets(example, encoded)
    assert encoded.places == [1, 4] and weights.sum() == 2
    assert short.decode(certain(targets, 3, 6), example, encoded)["tags"] == ["B-PER", "I-PER", "O"]


@pytest.mark.parametrize(
    ("text", "answer"),
    [("ann saw bob", "saw"), ("naïve 狐 ran", "狐"), ("ann saw bob", "ann saw bob")],
)
def test_answers_are_parts_of_the_text(text, answer):
    task = make_task("answer", BYTES, ANSWER_TAGS, 40)
    example = Example("here", text, question="what?", answer=answer, start=text.index(answer))
    encoded = task.encode(example)
    assert encoded.ids[:7].tolist() == [END, *b"what?", END]
    targets, weights = task.targets(example, encoded)
    assert weights.sum() == len(text.encode())
    assert (targets == 1).sum() == 1 and (targets > 0).sum() == len(answer.encode())
    found = task.decode(certain(targets, 3, 40), example, encoded)
    assert (found["answer"], found["start"]) == (answer, text.index(answer)) and found["score"] > 0
    assert task.decode(certain(targets * 0, 3, 40), example, encoded)["answer"] == ""


def test_an_answer_that_was_cut_off_is_no_target():
    task = make_task("answer", BYTES, ANSWER_TAGS, 16)
    example = Example("here", "ann saw bob", question="what?", answer="bob", start=8)
    targets, weights = task.targets(example, task.encode(example))
    assert not targets.any() and weights.sum() == 16 - 1 - 7
    words = train_tokenizer("word", ["ann saw bob"] * 3, 10)
    with pytest.raises(TokenizerError, match="a word tokenizer changes it"):
        make_task("answer", words, ANSWER_TAGS, 16)


def test_metrics_of_labels_by_hand():
    examples = [Example("", "t", (label,)) for label in "aaab"]
    task = make_task("classify", BYTES, "ab")
    found = task.metrics(examples, [{"label": p} for p in "aabb"])
    # a: precision 2/2, recall 2/3; b: precision 1/2, recall 1/1
    assert found["accuracy"] == 0.75
    assert (found["precision"], found["recall"]) == (pytest.approx(0.75), pytest.approx(5 / 6))
    assert found["f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert found["by_label"]["a"] == {
        "precision": 1.0,
        "recall": pytest.approx(2 / 3),
        "f1": pytest.approx(0.8),
        "examples": 3,
    }
    guess = task.baseline(examples, examples)
    assert [g["label"] for g in guess] == ["a"] * 4
    several = [Example("", "t", labels) for labels in (("a",), ("a", "b"), ())]
    task = make_task("classify", BYTES, "ab", labels_separator=",")
    found = task.metrics(several, [{"labels": ["a"]}, {"labels": ["a"]}, {"labels": ["b"]}])
    # a: 2 of 2; b: none right. Micro: 2 right of 3 found and 3 there.
    assert (found["f1"], found["f1_micro"]) == (pytest.approx(0.5), pytest.approx(2 / 3))
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_metrics_of_tags_count_whole_entities():
    truth = [("B-PER", "I-PER", "O", "B-LOC"), ("O", "B-PER")]
    examples = [Example("", "t", tags, tuple("wxyz"[: len(tags)])) for tags in truth]
    found = [["B-PER", "O", "O", "B-LOC"], ["O", "B-PER"]]
    task = make_task("tag", BYTES)
    scores = task.metrics(examples, [{"tags": tags} for tags in found])
    assert scores["accuracy"] == pytest.approx(5 / 6)
    # Three entities there, three found, two of them right to the last word.
    assert (scores["precision"], scores["recall"], scores["f1"]) == (pytest.approx(2 / 3),) * 3
    assert scores["by_type"]["LOC"]["f1"] == 1.0 and scores["by_type"]["PER"]["f1"] == 0.5
    nothing = task.metrics([Example("", "t", ("O",), ("w",))], [{"tags": ["O"]}])
    assert (nothing["accuracy"], nothing["f1"]) == (1.0, 0.0)
    guess = task.baseline(examples, [Example("", "t", (), ("w", "unseen", "x"))])
    # Of two tags that are as frequent the first one seen is taken.
    assert guess == [{"tags": ["B-PER", "O", "I-PER"]}]


def test_metrics_of_answers_by_hand():
    examples = [Example("", "t", answer=answer) for answer in ("the red fox", "", "Bob")]
    answers = [{"answer": answer} for answer in ("red fox ran", "", "bob ")]
    found = make_task("answer", BYTES).metrics(examples, answers)
    assert found["exact_match"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx((2 * 2 / 6 + 1 + 1) / 3)
