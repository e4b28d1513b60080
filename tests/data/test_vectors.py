"""Word vectors: what is read from each format, what is trained, and where they go."""

import gzip
import json

import numpy as np
import pytest

import tfscale
from tfscale import cli
from tfscale.data.vectors import embedding_rows, read_vectors, token_texts
from tfscale.errors import ConfigError, DataError
from tfscale.runs.folder import load_run
from tfscale.text.tokenizers.training import train_tokenizer

WORDS = {"cat": [1.0, 2.0, 3.0], "dog": [-1.0, 0.5, 0.25]}
LINES = "".join(f"{word} {' '.join(map(str, row))}\n" for word, row in WORDS.items())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Animals eat, and stones fall."""
    folder = tmp_path_factory.mktemp("vectors")
    rng = np.random.default_rng(0)
    lines = [
        f"the {rng.choice(['cat', 'dog', 'cow'])} {rng.choice(['eats', 'drinks'])} now"
        if rng.random() < 0.5
        else f"a {rng.choice(['stone', 'rock', 'brick'])} {rng.choice(['falls', 'rolls'])} down"
        for _ in range(1500)
    ]
    (folder / "text.txt").write_text("\n".join(lines))
    words = [
        "prepare",
        "--text",
        str(folder / "text.txt"),
        "--documents",
        "line",
        "--tokenizer",
        "word",
        "--vocabulary-size",
        "40",
        "--output",
        str(folder / "data"),
    ]
    assert cli.main(words) == 0
    return str(folder / "data")


def binary(words):
    head = f"{len(words)} 3\n".encode()
    return head + b"".join(
        w.encode() + b" " + np.array(row, np.float32).tobytes() for w, row in words.items()
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("word2vec.txt", b"2 3\n" + LINES.encode()),
        ("glove.txt", LINES.encode()),
        ("word2vec.bin", binary(WORDS)),
        ("glove.txt.gz", gzip.compress(LINES.encode())),
    ],
    ids=["word2vec-text", "glove-text", "word2vec-binary", "glove-gzip"],
)
def test_each_format_gives_the_same(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    words, vectors = read_vectors(str(tmp_path / name))
    assert {word: vectors[row].tolist() for word, row in words.items()} == WORDS


def test_vectors_go_to_the_tokens_of_their_words(tmp_path):
    tokenizer = train_tokenizer("word", ["the Cat saw a dog the Cat"] * 3, 20)
    (tmp_path / "vectors.txt").write_text(LINES)
    ids, rows = embedding_rows(str(tmp_path / "vectors.txt"), tokenizer, 3)
    texts = token_texts(tokenizer)
    # "Cat" is found in lower case.
    assert {texts[token]: row.tolist() for token, row in zip(ids, rows, strict=True)} == {
        "Cat": WORDS["cat"],
        "dog": WORDS["dog"],
    }
    with pytest.raises(
        DataError, match="have 3 numbers, and the model's embedding 8; give --model.embedding_dim 3"
    ):
        embedding_rows(str(tmp_path / "vectors.txt"), tokenizer, 8)
    (tmp_path / "other.txt").write_text(LINES.replace("cat", "x").replace("dog", "y"))
    with pytest.raises(DataError, match="has a vector for none of the"):
        embedding_rows(str(tmp_path / "other.txt"), tokenizer, 3)


@pytest.mark.parametrize("content", [b"", b"cat 1.0 x\n", b"3 3\ncat 1 2 3\n", b"\xff\xfe\x00"])
def test_files_without_vectors_are_named(content, tmp_path):
    (tmp_path / "vectors.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"vectors\.txt holds no vectors"):
        read_vectors(str(tmp_path / "vectors.txt"))
    with pytest.raises(DataError, match="there is no such file"):
        read_vectors("no.txt")


def test_trained_vectors_know_what_is_alike_and_begin_a_training(data, tmp_path, capsys):
    path = str(tmp_path / "vectors.txt")
    words = ["vectors", "--data", data, "--output", path, "--dim", "12", "--epochs", "30", "--json"]
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["tokens"] == 14
    places, rows = read_vectors(path)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def alike(one, other):
        return float(unit[places[one]] @ unit[places[other]])

    assert min(alike("cat", "dog"), alike("dog", "cow")) > max(
        alike("cat", "stone"), alike("cow", "brick")
    )
    tfscale.vectors(data, str(tmp_path / "again.txt"), dim=12, epochs=30)
    assert (tmp_path / "again.txt").read_text() == (tmp_path / "vectors.txt").read_text()

    options = [
        "train",
        "--model.family",
        "lstm",
        "--model.embedding_dim",
        "12",
        "--model.hidden_dim",
        "8",
        "--model.sequence_length",
        "8",
        "--train.steps",
        "1",
        "--train.learning_rate",
        "1e-9",
        "--data",
        data,
        "--train.global_batch_size",
        "4",
        "--train.tensorboard",
        "false",
        "--train.xla",
        "off",
    ]
    run = str(tmp_path / "run")
    assert cli.main([*options, "--output", run, "--vectors", path]) == 0
    loaded = load_run(run)
    assert loaded.summary["vectors"]["tokens"] == 14
    table = loaded.network.token_embedding.embeddings.numpy()
    ids, rows = embedding_rows(path, loaded.tokenizer, 12)
    ratios = table[ids] / rows
    np.testing.assert_allclose(ratios, ratios[0, 0], rtol=1e-2)
    assert cli.main([*options, "--output", run]) == 2
    assert "was begun with other vectors" in capsys.readouterr().err
    assert cli.main([*options, "--output", str(tmp_path / "x"), "--vectors", "no.txt"]) == 2
    assert (
        cli.main(
            [
                *options,
                "--output",
                str(tmp_path / "x"),
                "--vectors",
                path,
                "--model.embedding_dim",
                "9",
            ]
        )
        == 2
    )
    assert not (tmp_path / "x").exists()


def test_numbers_out_of_range(data, tmp_path):
    with pytest.raises(ConfigError, match="dim=0 is out of range"):
        tfscale.vectors(data, str(tmp_path / "v.txt"), dim=0)
    with pytest.raises(DataError, match="occurs 9999999 times"):
        tfscale.vectors(data, str(tmp_path / "v.txt"), min_count=9_999_999)


@pytest.mark.parametrize("name", ["v.bin", "v.txt"])
def test_a_head_that_promises_more_than_the_file_has(tmp_path, name):
    (tmp_path / name).write_bytes(b"2000000000 1000\nword " + bytes(1000))
    with pytest.raises(
        DataError,
        match="too small for the 2,000,000,000 x 1,000 numbers that its first line promises",
    ):
        read_vectors(str(tmp_path / name))


def test_words_of_glove_may_hold_spaces(tmp_path):
    (tmp_path / "glove.txt").write_text("the 0.5 -1\n. . 0.25 2\nat name@domain.com 1 3\n")
    words, vectors = read_vectors(str(tmp_path / "glove.txt"))
    assert words == {"the": 0, ". .": 1, "at name@domain.com": 2}
    np.testing.assert_array_equal(vectors, [[0.5, -1], [0.25, 2], [1, 3]])
