import pytest

from tfscale.data.splits import (
    Borders,
    HoldOut,
    document_digest,
    document_digests,
    split_hash,
    split_hashes,
)
from tfscale.errors import DataError


def split(documents, seed=0, **fractions):
    places = [split_hash(document_digest(document.encode(), seed)) for document in documents]
    hold_out = HoldOut(**{"validation_fraction": 0.0, "test_fraction": 0.0, **fractions})
    for place in places:
        hold_out.add(place)
    borders = hold_out.borders()
    return [borders.split_of(place) for place in places]


def test_the_digest_is_pinned():
    assert document_digest(b"document", 0).hex() == "05fcc20859eac3aea66ffd00f9e8ff7d"
    assert document_digest(b"document", 1).hex() != document_digest(b"document", 0).hex()
    several = document_digests([b"document", b"", b"another"], 0)
    assert [digest.hex()[:4] for digest in several[:1]] == ["05fc"]
    assert split_hashes(several).tolist() == [split_hash(digest) for digest in several]
    assert split_hashes([]).tolist() == []
    assert split_hash(bytes(range(16))) == 0x0706050403020100


def test_borders():
    borders = Borders(test=10, validation=20)
    assert [borders.split_of(place) for place in (0, 9, 10, 19, 20)] == [
        "test",
        "test",
        "validation",
        "validation",
        "train",
    ]


@pytest.mark.parametrize("count", [3, 4, 10, 5000])
def test_every_split_with_a_fraction_gets_a_document(count):
    for seed in range(5 if count < 5000 else 1):
        splits = split(map(str, range(count)), seed, validation_fraction=0.001, test_fraction=0.001)
        assert set(splits) == {"train", "validation", "test"}
        assert splits.count("train") >= count - 2 - count // 100


def test_large_fractions_leave_a_training_document():
    for seed in range(20):
        splits = split("abc", seed, validation_fraction=0.5, test_fraction=0.5)
        assert sorted(splits) == ["test", "train", "validation"]
        assert sorted(split("ab", seed, validation_fraction=0.5)) == ["train", "validation"]
        assert sorted(split("ab", seed, test_fraction=0.5)) == ["test", "train"]


def test_fractions_are_met_and_other_documents_do_not_matter():
    documents = [str(number) for number in range(3000)]
    splits = split(documents, validation_fraction=0.1, test_fraction=0.2)
    assert 240 < splits.count("validation") < 360
    assert 520 < splits.count("test") < 680
    assert split(documents[:1000], validation_fraction=0.1, test_fraction=0.2) == splits[:1000]
    assert split(reversed(documents), validation_fraction=0.1, test_fraction=0.2) == splits[::-1]
    assert split(documents, seed=1, validation_fraction=0.1, test_fraction=0.2) != splits


def test_no_fraction_holds_nothing_out():
    assert set(split("abcdef")) == {"train"}
    assert split(["one"]) == ["train"]


def test_equal_documents_stay_together():
    splits = split(["a", "b", "c"] * 40, validation_fraction=0.3, test_fraction=0.3)
    assert splits == splits[:3] * 40


@pytest.mark.parametrize("documents", [["one"], ["same", "same", "same"], ["a", "b"]])
def test_too_few_documents_name_the_ways_out(documents):
    with pytest.raises(
        DataError, match="cannot make 3 splits; name --validation-text.*--documents paragraph"
    ) as error:
        split(documents, validation_fraction=0.1, test_fraction=0.1)
    assert str(error.value).startswith(f"{len(set(documents))} different document")
