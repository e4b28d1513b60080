import pytest

from tfscale.data.sampling import tokenizer_sample
from tfscale.data.splits import Borders
from tfscale.data.spool import SpoolWriter
from tfscale.text.tokenizers.cutting import split_long


def sampled(path, documents, characters):
    with SpoolWriter(str(path)) as spool:
        for text in documents:
            spool.add(text, 1)
    return list(tokenizer_sample(spool.spool(Borders(0, 0)), characters))


@pytest.mark.parametrize(
    ("characters", "taken"), [(5000, 4000), (30_000, 28_000), (100_000, 100_000)]
)
def test_texts_without_spaces_are_bounded_too(tmp_path, characters, taken):
    parts = sampled(
        tmp_path / "spool", ["".join(chr(0x4E00 + at % 1000) for at in range(100_000))], characters
    )
    assert sum(map(len, parts)) == taken <= max(characters, 4000)


def test_the_sample_of_a_text_with_spaces_is_what_it_was(tmp_path):
    documents = [f"word {number} " * 3000 for number in range(8)] + ["short one"] * 50
    expected, seen, taken = [], 0, 0
    share = 40_000 / sum(map(len, documents))
    for text in documents:
        for piece in split_long(text):
            for part in split_long(piece, 4000):
                seen += len(part)
                if taken + len(part) <= seen * share or not taken:
                    taken += len(part)
                    expected.append(part)
    assert sampled(tmp_path / "spool", documents, 40_000) == expected
    # Where all of a text is taken, a part without a place for a cut stays whole.
    assert sampled(tmp_path / "spool", ["x" * 50_000], 50_000) == ["x" * 50_000]
