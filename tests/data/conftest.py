import pytest

from tfscale.config import PrepareConfig
from tfscale.data.prepare import prepare

SENTENCES = [
    "The lighthouse keeper counted the ships that passed before dawn.",
    "Rain came from the west, and with it the smell of cut grass.",
    "Nobody remembered who had painted the door green.",
    "A train stopped between two stations; the passengers looked at each other.",
    "«Où est la clé ?» asked the boy, and the old woman laughed.",
    "Three lamps burned in the harbour: red, white, and a yellow one.",
]


def text(paragraphs):
    """Paragraphs that are all different."""
    return "\n\n".join(
        f"{number}. "
        + " ".join(SENTENCES[(number + shift) % len(SENTENCES)] for shift in range(1 + number % 4))
        for number in range(paragraphs)
    )


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """Path of a text of 120 paragraphs, 18,000 bytes or so."""
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text(text(120), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def tiny_data_dir(tiny_text, tmp_path_factory):
    """A data folder of the text's paragraphs as bytes: 5 training shards, a validation and a test split."""
    output = str(tmp_path_factory.mktemp("tiny") / "data")
    config = PrepareConfig(
        text=[tiny_text],
        documents="paragraph",
        tokenizer="byte",
        validation_fraction=0.1,
        test_fraction=0.1,
        shards=5,
        output=output,
    )
    prepare(config, progress=False)
    return output
