"""Decisions of the filters on texts that lie just on each side of a published threshold."""

import pytest

from tfscale.config import PrepareConfig
from tfscale.errors import ConfigError
from tfscale.registry import FILTERS
from tfscale.text.filter import Dropped, Filter, filters_of
from tfscale.text.filters.c4 import C4
from tfscale.text.filters.fineweb import FineWeb
from tfscale.text.filters.gopher_quality import GopherQuality
from tfscale.text.filters.gopher_repetition import (
    GopherRepetition,
    duplicate_characters,
    repeated,
    top_characters,
)
from tfscale.text.filters.length import Length
from tfscale.text.filters.symbols import Symbols
from tfscale.text.languages import check_languages, language_of


def different(count, length=4):
    """Words that are all different, of letters alone: caaa, caab, ..."""
    letters = "abcdefghij"
    return [
        "c" * (length - 3) + letters[n // 100 % 10] + letters[n // 10 % 10] + letters[n % 10]
        for n in range(count)
    ]


def english(count):
    return " ".join(["the", "of", *different(count - 2)])


@pytest.mark.parametrize(
    "text, reason",
    [
        (english(50), None),
        (english(49), "word_count"),
        ("", "word_count"),
        (" ".join(["the", "of"] + ["a"] * 100_000), "word_count"),
        (" ".join(["the", "of"] + ["abc"] * 48), "word_length"),  # (5 + 144) / 50 = 2.98
        (" ".join(["the", "of", "c"] + ["abc"] * 48), "word_length"),
        (" ".join(["the", "of", "abcd"] + ["abc"] * 47), None),  # (5 + 4 + 141) / 50 = 3
        (" ".join(["the", "of", *different(48, 10)]), None),
        (" ".join(["the", "of", *different(48, 11)]), "word_length"),  # 533 / 50
        (english(50) + "#" * 5, None),
        (english(50) + "#" * 6, "hash_symbols"),
        (english(50).replace("ca", "…a", 6), "ellipses"),
        (english(50).replace("caa", "...", 6), "ellipses"),
        (english(50).replace("ca", "…a", 5), None),
        ("\n".join(f"- {english(10)}" for _ in range(9)) + "\n" + english(10), None),
        ("\n".join(f"- {english(10)}" for _ in range(10)), "bullet_lines"),
        ("\n".join([english(10) + "…"] * 4 + [english(10)] * 6), "ellipsis_lines"),
        ("\n".join([english(10) + "…"] * 3 + [english(10)] * 7), None),
        (" ".join([english(40), *["1234"] * 10]), None),
        (" ".join([english(40), *["1234"] * 11]), "alphabetic_words"),
        (" ".join(["The,", "(of)", *different(50)]), None),
        (" ".join(["the", "the", *different(50)]), "stop_words"),
    ],
)
def test_gopher_quality(text, reason):
    assert GopherQuality()(text) == (text if reason is None else Dropped(reason))


def test_characters_of_repeated_parts_by_hand():
    assert repeated(["aa", "b", "aa", "aa"]) == (4, 7)
    assert repeated([]) == (0, 0)
    assert top_characters("to be or not to be".split(), 2) == 8
    assert top_characters("one two three".split(), 2) == 0
    # "a b" and "bb a" occur twice each: the longer counts.
    assert top_characters("a bb a x a bb y bb a".split(), 2) == 2 * 3
    # The first "a bb" is new; what follows lies in n-grams that occurred, each word once.
    assert duplicate_characters("a bb a bb a bb".split(), 2) == 6
    assert duplicate_characters("a b c a b d".split(), 2) == 2
    assert duplicate_characters(["a"], 2) == 0


WORDS = different(900)


def mixed(others, times):
    """Different words, of which the last ones stand before the same two words."""
    words = WORDS[: others - times]
    for other in WORDS[others - times : others]:
        words += [other, "abcd", "efgh"]
    return " ".join(words)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("\n".join(WORDS[:100]), None),
        # 3 of 10 lines are duplicates, then 4 of 11.
        ("\n".join([*WORDS[:4], *"ppqqrr"]), None),
        ("\n".join([*WORDS[:4], *"ppqqrrr"]), "duplicate_lines"),
        # 14 of 72 characters are in the second of two lines, then 15 of 74.
        ("\n".join([*WORDS[:11], "y" * 14, "y" * 14]), None),
        ("\n".join([*WORDS[:11], "y" * 15, "y" * 15]), "duplicate_line_characters"),
        ("\n\n".join(["\n".join(WORDS[:20]), "d", "d"]), "duplicate_paragraphs"),  # 1 of 3
        ("\n\n".join(["\n".join(WORDS[:20]), "e", "d", "d"]), None),
        # Three times 8 characters of 120, then of 116.
        (mixed(24, 3), None),
        (mixed(23, 3), "top_2gram"),
        # Two runs of five words come again: 40 of 269 characters, then of 241.
        (" ".join([*WORDS[:57], *WORDS[:5], "x", *WORDS[10:15]]), None),
        (" ".join([*WORDS[:50], *WORDS[:5], "x", *WORDS[10:15]]), "duplicate_5grams"),
        # A run of ten words comes again: 40 of 400 characters, of 380, of 360.
        (" ".join([*WORDS[:90], *WORDS[:10]]), None),
        (" ".join([*WORDS[:85], *WORDS[:10]]), "duplicate_10grams"),
        (" ".join([*WORDS[:80], *WORDS[:10]]), "duplicate_9grams"),
        ("", None),
    ],
)
def test_gopher_repetition(text, reason):
    judged = GopherRepetition()(text)
    assert judged == (text if reason is None else Dropped(reason))


SENTENCE = "The keeper counted the ships."


@pytest.mark.parametrize(
    "text, kept",
    [
        ("\n".join([SENTENCE] * 3), "\n".join([SENTENCE] * 3)),
        (" ".join([SENTENCE] * 3), " ".join([SENTENCE] * 3)),
        ("\n".join([SENTENCE] * 2), Dropped("sentences")),
        (f"Home\n{SENTENCE} He said so. Was it?[12]", f"{SENTENCE} He said so. Was it?"),
        (f"{SENTENCE}\nBut only four words.\n{SENTENCE} So.", f"{SENTENCE}\n{SENTENCE} So."),
        (f"{SENTENCE} A. B.\nPlease enable JavaScript in this page.", f"{SENTENCE} A. B."),
        (f"{SENTENCE} A. B.\nThis page uses cookies for you.", f"{SENTENCE} A. B."),
        (f"{SENTENCE} A. B.\nAnd so it went on...", f"{SENTENCE} A. B."),
        (f"{SENTENCE} A. B. Lorem Ipsum dolor.", Dropped("lorem_ipsum")),
        (f"{SENTENCE} A. B. if (x) {{ return; }}", Dropped("curly_bracket")),
        ("“One two three four five six.” “Seven!” He asked: 'Eight?'",) * 2,
        ("Version 1.2.3 of it has three numbers.", Dropped("sentences")),
        ("\n".join(['He said to her: "Go home now"'] * 3),) * 2,
        (f"{SENTENCE} A. B.\nOne two three four {'x' * 1001}.", f"{SENTENCE} A. B."),
    ],
)
def test_c4(text, kept):
    assert C4()(text) == kept


LONG = "a line of thirty or more letters"


@pytest.mark.parametrize(
    "text, reason",
    [
        ("\n".join(f"{LONG} {n}." for n in range(10)), None),
        # 3 of 25 lines are 12 %, which is dropped; 4 are not.
        ("\n".join(f"{LONG} {n:02}{'.' if n < 3 else ''}" for n in range(25)), "line_punctuation"),
        ("\n".join(f"{LONG} {n:02}{'.' if n < 4 else ''}" for n in range(25)), None),
        ("\n".join(f"{LONG} {n % 9}." for n in range(10)), "duplicate_characters"),  # a tenth
        ("\n".join(f"{LONG} {n % 10:02}." for n in range(11)), None),  # 1 of 11
        ("\n".join(f"{'' if n < 67 else LONG} {n:02}." for n in range(100)), "short_lines"),
        ("\n".join(f"{'' if n < 66 else LONG} {n:02}." for n in range(100)), None),
        ("", "line_punctuation"),
        (f'{LONG}:\n{LONG} one)\n{LONG}"', "line_punctuation"),
        ("一二三四五六七八九十。" * 4, None),
    ],
)
def test_fineweb(text, reason):
    assert FineWeb()(text) == (text if reason is None else Dropped(reason))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("abcdef 123", None),
        ("abcde 1234", "special_characters"),
        ("हिन्दी", None),  # Its vowel signs are marks of letters.
        ("中文中文中文。。。。", None),
        ("中文中文中。。。。", "special_characters"),
    ],
)
def test_symbols(text, reason):
    assert Symbols()(text) == (text if reason is None else Dropped(reason))


def test_length():
    assert Length(3, 5)("abc") == "abc" and Length(3, 5)("abcde") == "abcde"
    assert Length(3, 5)("ab") == Dropped("too_short")
    assert Length(3, 5)("abcdef") == Dropped("too_long")
    assert Length(3)("a" * 100) == "a" * 100


@pytest.mark.parametrize(
    "text, language",
    [
        ("The quick brown fox jumps over the lazy dog near the river bank.", "en"),
        ("Der schnelle braune Fuchs springt über den faulen Hund am Fluss.", "de"),
        ("Le renard brun rapide saute par-dessus le chien paresseux.", "fr"),
        ("敏捷的棕色狐狸跳过了懒狗，河边的孩子们都在看。", "zh"),
        ("Быстрая коричневая лиса прыгает через ленивую собаку.", "ru"),
    ],
)
def test_languages(text, language):
    assert language_of(text) == language
    [keeps] = filters_of(PrepareConfig(text=["a"], output="b", languages=["en", "de"]))
    kept = language in ("en", "de")
    assert keeps(text) == (text if kept else Dropped("other_language"))


def test_languages_that_are_not_known():
    check_languages(["en", "de"])
    with pytest.raises(ConfigError, match="^no language 'eng'; did you mean 'en'"):
        check_languages(["de", "eng"])
    with pytest.raises(ConfigError, match="^no language 'XX'; there are .*, de, .*, zh"):
        check_languages(["XX"])


def test_filters_are_chosen_by_name_and_by_their_options():
    def names(**options):
        config = PrepareConfig(text=["a"], output="b", **options)
        return [rule.name for rule in filters_of(config)]

    assert names() == []
    assert names(filters=["fineweb", "c4"]) == ["fineweb", "c4"]
    assert names(filters=["c4"], max_characters=5, languages=["en"]) == ["language", "length", "c4"]
    assert names(filters=["c4", "length"], max_characters=5) == ["length", "c4"]
    with pytest.raises(ConfigError, match="^the filter length needs --min-characters or --max-cha"):
        names(filters=["length"])


def test_every_filter_says_what_it_is():
    for rule in FILTERS:
        assert issubclass(rule, Filter) and rule.summary and rule.reasons
        assert rule.source or rule is Length
