"""Forms of multiple choice: prompts as lm-evaluation-harness's task definitions give them, written out here."""

import pytest

from tfscale.errors import ConfigError, DataError
from tfscale.evaluation.choices import mean_and_error
from tfscale.registry import CHOICE_FORMS

HELLASWAG = {
    "ind": 24,
    "activity_label": "Roof shingle removal",
    "ctx_a": "A man is sitting on a roof. [title] He",
    "ctx_b": "he Starts",
    "ctx": "A man is sitting on a roof. He he Starts",
    "endings": [" is using wrap.", "is [step] ripping  level tiles off.", "x", "y [a] b"],
    "label": "1",
}
ARC = {
    "id": "Mercury_7175875",
    "question": "What rubs hands?",
    "choices": {"text": ["dry palms", "wet palms", "oil"], "label": ["1", "2", "3"]},
    "answerKey": "3",
}
MMLU = {
    "question": " Find all c in Z_3. ",
    "subject": "abstract_algebra",
    "choices": ["0", "1", "2", "3"],
    "answer": 2,
}
PIQA = {"goal": "How do I keep food warm?", "sol1": "A lid.", "sol2": "No lid.", "label": 1}
LAMBADA = {"text": "he looked at the sea and saw the ship"}
OWN = {"context": "The sky is", "choices": ["blue", "green"], "label": 0}


def read(form, fields):
    question = CHOICE_FORMS.get(form)().read(fields)
    return question.context, question.choices, question.gold


@pytest.mark.parametrize(
    ("form", "fields", "expected"),
    [
        (
            "hellaswag",
            HELLASWAG,
            (
                "Roof shingle removal: A man is sitting on a roof.. He He starts",
                ("is using wrap.", "is ripping level tiles off.", "x", "y b"),
                1,
            ),
        ),
        (
            "arc",
            ARC,
            ("Question: What rubs hands?\nAnswer:", ("dry palms", "wet palms", "oil"), 2),
        ),
        (
            "mmlu",
            MMLU,
            (
                "Find all c in Z_3.\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer:",
                ("A", "B", "C", "D"),
                2,
            ),
        ),
        (
            "piqa",
            PIQA,
            ("Question: How do I keep food warm?\nAnswer:", ("A lid.", "No lid."), 1),
        ),
        ("lambada", LAMBADA, ("he looked at the sea and saw the", (" ship",), 0)),
        ("choices", OWN, ("The sky is", ("blue", "green"), 0)),
    ],
)
def test_a_record_becomes_the_harness_s_prompt(form, fields, expected):
    assert read(form, fields) == expected


def test_a_form_outside_of_hellaswag_keeps_its_spaces():
    context, choices, _ = read("arc", ARC | {"question": "  Two  spaces "})
    assert context == "Question:   Two  spaces \nAnswer:"
    assert choices[0] == "dry palms"


@pytest.mark.parametrize(
    ("form", "fields", "shown"),
    [
        ("piqa", PIQA, "Question: How do I keep food warm?\nAnswer: No lid.\n\n"),
        ("mmlu", MMLU, "Find all c in Z_3.\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: C\n\n"),
        # The harness puts its delimiter before a target that has a space already.
        ("lambada", LAMBADA, "he looked at the sea and saw the  ship\n\n"),
    ],
)
def test_an_example_has_its_answer_and_an_empty_line(form, fields, shown):
    made = CHOICE_FORMS.get(form)()
    assert made.example(made.read(fields)) == shown


def test_what_the_harness_reports_of_each_task():
    metrics = {form.name: form.metrics for form in CHOICE_FORMS}
    assert metrics == {
        "arc": ("acc", "acc_norm"),
        "choices": ("acc", "acc_norm"),
        "hellaswag": ("acc", "acc_norm"),
        "lambada": ("perplexity", "acc"),
        "mmlu": ("acc",),
        "piqa": ("acc", "acc_norm"),
    }
    delimiters = {form.name: form.delimiter for form in CHOICE_FORMS if form.name != "lambada"}
    assert set(delimiters.values()) == {" "}


@pytest.mark.parametrize(
    ("form", "fields", "message"),
    [
        ("choices", {"choices": ["a"], "label": 0}, "there is no 'context'; it has choices, label"),
        (
            "choices",
            OWN | {"choices": "blue"},
            "choices should be a list of texts; received 'blue'",
        ),
        ("choices", OWN | {"choices": [1, 2]}, "choices should be a list of texts; received"),
        ("choices", OWN | {"label": 2}, "the right choice is number 2; expected 0 to 1"),
        ("choices", OWN | {"label": True}, "label should be the number of the right choice"),
        ("choices", OWN | {"context": 5}, "context should be a text; received 5"),
        ("choices", OWN | {"context": None}, "^context is null$"),
        ("lambada", {"text": " "}, "text is empty; there is no last word to predict"),
        ("hellaswag", HELLASWAG | {"label": ""}, "from 0; received '' .test sets are often"),
        ("piqa", PIQA | {"label": -1}, "the right choice is number -1; expected 0 to 1"),
        ("arc", ARC | {"answerKey": "B"}, "answerKey is 'B'; expected one of 1, 2, 3"),
        ("mmlu", MMLU | {"choices": ["a", "b"]}, "choices should be four; received 2"),
    ],
)
def test_what_is_not_of_the_form_is_said_in_a_line(form, fields, message):
    with pytest.raises(DataError, match=message) as caught:
        read(form, fields)
    assert "\n" not in str(caught.value)


def test_a_form_that_is_not_there():
    with pytest.raises(ConfigError, match="no form of multiple choice 'pika'; did you mean 'piqa'"):
        CHOICE_FORMS.get("pika")


def test_standard_errors_by_hand():
    # Mean 3/4; squares 3 x 1/16 + 9/16 = 3/4; by n - 1 = 3 and by n = 4: the root of 1/16.
    assert mean_and_error([1, 1, 0, 1], [""] * 4) == (0.75, 0.25)
    # Two groups: squares around 1/2 and around 1 are 1/2 and 0, two values are free of four.
    mean, error = mean_and_error([1, 0, 1, 1], ["a", "a", "b", "b"])
    assert (mean, error) == (0.75, pytest.approx((0.5 / 2 / 4) ** 0.5))
    assert mean_and_error([1], [""]) == (1.0, None)
