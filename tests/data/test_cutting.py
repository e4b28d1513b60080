import pytest

from tfscale.data.cutting import cut_texts


def sizes(parts):
    return [sum(map(len, part)) for part in parts]


def test_cuts_are_after_line_ends_where_there_are_any_nearby():
    text = "".join(f"line {number:02}\n" for number in range(100))
    parts = cut_texts([text], [0.05, 0.05])
    assert sizes(parts) == [720, 40, 40]
    assert all(part[0].endswith("\n") for part in parts)
    assert "".join(sum(parts, [])) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ab " * 400, [1080, 60, 60]),
        # 1,080 is within a word; the places after its spaces are 1,078 and 1,085.
        ("abcdef " * 171 + "xyz", [1078, 63, 59]),
        # No place at all: between characters.
        ("字" * 1200, [1080, 60, 60]),
        # The only line ends are too far away.
        ("字" * 600 + "\n" + "字" * 599, [1080, 60, 60]),
    ],
)
def test_places_without_line_ends(text, expected):
    parts = cut_texts([text], [0.05, 0.05])
    assert sizes(parts) == expected
    assert "".join(sum(parts, [])) == text


def test_documents_stay_whole_where_a_border_is_near():
    first, second = "a\n" * 455, "b\n" * 45
    assert cut_texts([first, second], [0.1]) == [[first], [second]]
    parts = cut_texts([first, second], [0.5])
    assert sizes(parts) == [500, 500]
    assert parts[1] == ["a\n" * 205, second]


def test_a_text_too_short_for_its_parts_is_not_cut():
    assert cut_texts(["ab" * 190], [0.05, 0.05]) is None
    assert sizes(cut_texts(["ab" * 200], [0.05, 0.05])) == [360, 20, 20]
    assert cut_texts(["text " * 10 + "\n" * 50], [0.05]) is None
