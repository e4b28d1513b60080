"""The tokenizer of the tiny networks and a text for it."""

import pytest

from tests.exporting.exported import TEXT
from tfscale.text.tokenizers import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer("byte", [], 257)


@pytest.fixture(scope="session")
def held_out(tokenizer):
    return [*tokenizer.encode(TEXT), tokenizer.end_id]
