"""A filter and a removal of a module outside the package, in this process and in others."""

import pathlib

import pytest

from tests.plugins import plugin
from tfscale.config import PrepareConfig
from tfscale.data import keeping
from tfscale.data.quality import selection as module
from tfscale.data.quality.selection import Selection
from tfscale.errors import ConfigError, DataError
from tfscale.text.cleaning import Cleaner


@pytest.fixture(autouse=True)
def rules(monkeypatch):
    """The module, registered for the time of a test."""
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))
    monkeypatch.setattr(module, "_SMALL", 1)
    monkeypatch.setattr(keeping, "BATCH_CHARACTERS", 10)
    with plugin("stranger_rules") as rules:
        yield rules


TEXTS = [
    "The order ORD-123456 came with the mail and that of ORD-1.",
    "a | b\nc | d\ne",
    "The sum of one\nand two is to be three, that we have known.\n1 | 2",
    "too short",
]


def kept_texts(selection, texts):
    batches = keeping.batches_of(texts)
    return [text for documents in selection.kept(batches) for text in documents.texts]


def select(processes, texts=TEXTS, filters=("no_tables", "short_gopher")):
    config = PrepareConfig(text=["a"], output="b", filters=list(filters), remove=["orders"])
    selection = Selection(config, Cleaner(), processes, progress=False)
    return kept_texts(selection, texts), dict(selection.counts)


@pytest.mark.parametrize("processes", [1, 2])
def test_it_is_a_choice_like_any_other(processes):
    kept, counts = select(processes)
    assert kept == [
        "The order <order> came with the mail and that of ORD-1.",
        "The sum of one\nand two is to be three, that we have known.",
    ]
    assert counts == {
        "removed/orders": 1,
        "edited/no_tables": 1,
        "dropped/no_tables/cells": 1,
        "dropped/short_gopher/word_count": 1,
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_a_filter_that_fails_is_named_with_the_document(processes):
    message = (
        "^the filter no_tables failed on the document that begins 'divide this'"
        " .ZeroDivisionError: division by zero.$"
    )
    with pytest.raises(DataError, match=message):
        select(processes, [*TEXTS, "divide this"])


def test_its_name_is_needed():
    with pytest.raises(
        ConfigError, match="filters: expected one of c4, .*, short_gopher, no_tables"
    ):
        select(1, filters=["tables"])
