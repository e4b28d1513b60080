"""Reading labelled examples: what each kind of file gives, and the one line that a broken one gets."""

import json

import pytest

from tfscale.config.tasks import TaskConfig
from tfscale.errors import ConfigError, DataError
from tfscale.tasks.examples import FieldNames, check_bio, read_examples


def read(tmp_path, name, content, task="classify", labelled=True, **fields):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return read_examples([str(path)], task, FieldNames(**fields), labelled)


def test_a_text_and_its_label_from_each_kind_of_file(tmp_path):
    rows = [("a fine, old film", "good"), ("dull", "bad")]
    files = {
        "a.jsonl": "".join(
            json.dumps({"text": text, "label": label}) + "\n\n" for text, label in rows
        ),
        "a.csv": 'label,text\ngood,"a fine, old film"\nbad,dull\n',
        "a.tsv": "text\tlabel\na fine, old film\tgood\ndull\tbad\n",
    }
    for name, content in files.items():
        found = read(tmp_path, name, content)
        assert [(e.text, e.labels) for e in found] == [(text, (label,)) for text, label in rows]
    assert found[1].where.endswith("a.tsv, line 3") and found[0].fields == {
        "text": "a fine, old film",
        "label": "good",
    }
    other = read(tmp_path, "b.csv", "review,stars\nfine,5\n", text="review", label="stars")
    assert (other[0].text, other[0].labels) == ("fine", ("5",))
    assert read(tmp_path, "c.csv", "text\nfine\n", labelled=False)[0].labels == ()


def test_several_labels(tmp_path):
    content = "text;labels\n".replace(";", ",") + 'one,"x|y"\ntwo,\nthree,y|y\n'
    found = read(tmp_path, "a.csv", content, label="labels", labels_separator="|")
    assert [e.labels for e in found] == [("x", "y"), (), ("y",)]
    rows = '{"text": "one", "label": ["x", "y"]}\n{"text": "two", "label": []}\n'
    assert [e.labels for e in read(tmp_path, "a.jsonl", rows, labels_separator=",")] == [
        ("x", "y"),
        (),
    ]


def test_tags_from_conll_and_jsonl(tmp_path):
    conll = (
        "-DOCSTART- -X- O O\n\nAnn NNP B-PER\nSmith NNP I-PER\nleft VBD O\n\n\nParis NNP B-LOC\n"
    )
    found = read(tmp_path, "a.conll", conll, "tag")
    assert [(e.words, e.labels) for e in found] == [
        (("Ann", "Smith", "left"), ("B-PER", "I-PER", "O")),
        (("Paris",), ("B-LOC",)),
    ]
    assert (found[0].text, found[1].where.rpartition("/")[2]) == (
        "Ann Smith left",
        "a.conll, line 8",
    )
    rows = json.dumps({"words": ["Ann", "left"], "tags": ["B-PER", "O"]})
    assert read(tmp_path, "a.jsonl", rows, "tag")[0].labels == ("B-PER", "O")
    assert read(tmp_path, "b.conll", "Ann\nleft\n", "tag", labelled=False)[0].words == (
        "Ann",
        "left",
    )


def test_answers(tmp_path):
    rows = [
        {"question": "who?", "context": "ann saw bob", "answer": "bob"},
        {"question": "who?", "context": "bob saw bob", "answer": "bob", "answer_start": 8},
        {"question": "when?", "context": "ann saw bob", "answer": ""},
    ]
    found = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), "answer")
    assert [(e.answer, e.start) for e in found] == [("bob", 8), ("bob", 8), ("", -1)]
    assert found[0].question == "who?" and found[0].text == "ann saw bob"


@pytest.mark.parametrize(
    ("name", "content", "task", "message"),
    [
        (
            "a.txt",
            "x",
            "classify",
            "are read from .arrow, .conll, .csv, .jsonl, .parquet, .tfrecord, .tsv and .warc files",
        ),
        ("a.jsonl", "", "classify", "has no examples"),
        ("a.jsonl", "{", "classify", "line 1: not JSON"),
        ("a.jsonl", "[1]", "classify", "line 1: expected an object"),
        (
            "a.jsonl",
            '{"text": "a", "label": "x"}\n{"txt": "a"}',
            "classify",
            "line 2: there is no 'text'; it has txt",
        ),
        ("a.jsonl", '{"text": "a"}', "classify", "line 1: there is no 'label'"),
        ("a.jsonl", '{"text": "a", "label": null}', "classify", "line 1: 'label' is null; every"),
        ("a.jsonl", '{"text": " ", "label": "x"}', "classify", "line 1: text is empty"),
        ("a.jsonl", '{"text": "a", "label": " "}', "classify", "line 1: the label is empty"),
        ("a.jsonl", '{"text": "a", "label": ["x", "y"]}', "classify", "give --labels-separator"),
        (
            "a.csv",
            "text,label\na,b,c\n",
            "classify",
            "line 2: 3 columns, and the head has 2 (text, label)",
        ),
        ("a.csv", "text,text\na,b\n", "classify", "line 1: a column has the name of another"),
        ("a.conll", "a O\n", "classify", "CoNLL files hold tags of words"),
        ("a.conll", "a O\nb\n", "tag", "line 2: expected a word and its tag; received 'b'"),
        (
            "a.conll",
            "x O\n\na O\nb I-PER\n",
            "tag",
            "line 3: tag 2, I-PER, follows O; an entity begins with B-PER",
        ),
        ("a.conll", "a B-PER\nb I-LOC\n", "tag", "tag 2, I-LOC, follows B-PER"),
        ("a.conll", "a PER\n", "tag", "tag 1 is 'PER'; expected O, or B- or I- and a type"),
        (
            "a.jsonl",
            '{"words": ["a", "b"], "tags": ["O"]}',
            "tag",
            "line 1: 2 words and 1 tags; each word needs one",
        ),
        (
            "a.jsonl",
            '{"words": ["a b"], "tags": ["O"]}',
            "tag",
            "line 1: a word is empty or holds white space",
        ),
        ("a.jsonl", '{"words": []}', "tag", "line 1: tags come as"),
        (
            "a.jsonl",
            '{"question": "q", "context": "a b", "answer": "c"}',
            "answer",
            "does not hold the answer 'c'",
        ),
        (
            "a.jsonl",
            '{"question": "q", "context": "a b", "answer": "b", "answer_start": 0}',
            "answer",
            "'b' at 0",
        ),
        (
            "a.jsonl",
            '{"question": " ", "context": "a b", "answer": "b"}',
            "answer",
            "question is empty",
        ),
        (
            "a.jsonl",
            '{"question": "q", "context": "a b", "answer": "b", "answer_start": [2]}',
            "answer",
            "answer_start is [2]; expected the number of characters before it",
        ),
        ("a.csv", 'text,label\n"Great film,good\ndull,bad\n', "classify", "unexpected end of data"),
        ("a.csv", 'text,label\n"Great" film,good\n', "classify", "line 2: ',' expected after '\"'"),
        ("a.tsv", 'label\ttext\ngood\t"Great film\nbad\tso "bad"\n', "classify", "line 3: "),
        (
            "a.tsv",
            'text\tlabel\n"Great film\tgood\nthe "\tbad\n',
            "classify",
            'line 3: a quote (") that begins a field is not closed before it',
        ),
    ],
)
def test_broken_files_are_named_with_their_line(name, content, task, message, tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, content, task)
    assert (
        message in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)
    )


def test_lines_and_fields_are_what_their_formats_say(tmp_path):
    """A byte-order mark is no letter, U+2028 ends no line, and a field may be long, quoted and of several lines."""
    (found,) = read(
        tmp_path,
        "a.jsonl",
        "\ufeff" + json.dumps({"text": "a\u2028b", "label": "x"}, ensure_ascii=False),
    )
    assert found.text == "a\u2028b"
    long = "word " * 40_000
    content = f'\ufefftext,label\r\n"one, ""two""\r\nthree",x\r\nc\u2028d,y\r\n{long},x\r\n'
    (tmp_path / "a.csv").write_bytes(content.encode())
    examples = read_examples([str(tmp_path / "a.csv")], "classify")
    assert [(e.text, e.labels) for e in examples] == [
        ('one, "two"\r\nthree', ("x",)),
        ("c\u2028d", ("y",)),
        (long, ("x",)),
    ]
    assert [e.where.rpartition(" ")[2] for e in examples] == ["3", "4", "5"]


def test_legal_tags_pass():
    check_bio(["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-PER", "I-PER"], "here")
    with pytest.raises(DataError, match="text file or folder does not exist: no.jsonl"):
        read_examples(["no.jsonl"], "classify")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": "parse"},
            "task: expected one of answer, classify, summarize, tag, translate; received 'parse'",
        ),
        ({"freeze": True, "lora_rank": 4}, "give one of them"),
        (
            {"task": "tag", "balance": "weights"},
            "balance is for classify; task='tag' has no use for it",
        ),
        (
            {"labels_separator": ",", "balance": "resample"},
            "balance='resample' is for classify with one label",
        ),
        ({"task": "answer", "labels_separator": ","}, "labels_separator is for classify"),
        ({"train": []}, "give the files of the training examples"),
        ({"epochs": 0}, "epochs=0 is out of range"),
    ],
)
def test_options_that_contradict(options, message):
    with pytest.raises(ConfigError, match=message):
        TaskConfig(**{"task": "classify", "output": "o", "train": ["a.csv"], **options})
