"""Counterfactual swaps: how much likelier a text becomes by one word instead of another, such as he
and she.

A text that holds either word of a pair (a, b) is scored twice: with a wherever one of them stands,
and with b (Lu et al. 2020; Nangia et al. 2020). The ratio is log p(with a) - log p(with b),
in nats of the whole text. NumPy only.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np

from tfscale.analysis.slices import CONFIDENCE, DRAWS, interval
from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_lines

Pair = tuple[str, str]
LARGEST = 3
"""Texts that are shown for each pair."""


def read_pairs(path: str) -> list[Pair]:
    """Returns the pairs of words in a file, one a line; a tab, a comma or a space parts the two.

    Raises:
        DataError: no file, a line without a pair of words, a pair that comes twice; the message
            names the line.
    """
    try:
        lines = read_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the pairs {path}: {error}") from error
    pairs: list[Pair] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        separator = "\t" if "\t" in line else "," if "," in line else None
        words = [word.strip() for word in line.split(separator)]
        if len(words) != 2 or not all(words) or words[0].lower() == words[1].lower():
            raise DataError(
                f"{path}, line {number}: expected two words, such as he and she; received"
                f" {line.strip()!r}"
            )
        if any({*words} == {*pair} for pair in pairs):
            raise DataError(
                f"{path}, line {number}: the pair {words[0]}, {words[1]} is there twice"
            )
        pairs.append((words[0], words[1]))
    if not pairs:
        raise DataError(f"{path} has no pairs of words")
    return pairs


def counterfactuals(text: str, pair: Pair) -> Pair | None:
    """Returns the text with the first word wherever one of both stands, and with the second.

    The result is None where the text holds neither.

    Whole words count, in any case, and the new word takes the case of the old one.

    Example:
        counterfactuals("He said she would.", ("he", "she"))
        # ("He said he would.", "She said she would.")
    """
    either = "|".join(re.escape(word) for word in sorted(pair, key=len, reverse=True))
    pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)
    if not pattern.search(text):
        return None
    return (
        pattern.sub(lambda match: _in_case(pair[0], match[0], pair), text),
        pattern.sub(lambda match: _in_case(pair[1], match[0], pair), text),
    )


def _in_case(word: str, replaced: str, pair: Pair) -> str:
    """Returns the word in the case of the one that it replaces."""
    if replaced in pair:
        return word
    if len(replaced) > 1 and replaced.isupper():
        return word.upper()
    if replaced[0].isupper():
        return word[0].upper() + word[1:]
    return word.lower()


def swap_ratios(
    texts: Sequence[str],
    pairs: Sequence[Pair],
    score: Callable[[Sequence[str]], Sequence[float]],
    seed: int = 0,
) -> JsonObject:
    """Returns the log-likelihood ratios of pairs of words.

    Args:
        texts: where the words are looked for.
        pairs: of words.
        score: texts -> the log-likelihood of each, in nats; it is called once.
        seed: of the bootstrap.

    Returns:
        `confidence`; `texts`, their number; and `pairs`, each with `a`, `b`, `texts` (those that
        hold either word; with 0 there are no figures), `mean` of the ratio with its `low` and
        `high`, and `largest`: `text` and `ratio` of the different texts whose ratio is farthest
            from 0.

    Raises:
        DataError: no text holds a word of any pair.

    Example:
        swap_ratios(["he left"], [("he", "she")], lambda texts: [-1.0 * len(t) for t in texts])
    """
    swapped = [
        [(text, both) for text in texts if (both := counterfactuals(text, pair))] for pair in pairs
    ]
    wanted = list(dict.fromkeys(text for rows in swapped for _, both in rows for text in both))
    if not wanted:
        words = ", ".join(f"{a}/{b}" for a, b in pairs[:5])
        raise DataError(
            f"none of the {len(texts)} texts holds a word of a pair"
            f" ({words}{', ...' * (len(pairs) > 5)})"
        )
    known = dict(zip(wanted, score(wanted), strict=True))
    rng = np.random.default_rng(seed)
    result = []
    for (a, b), rows in zip(pairs, swapped, strict=True):
        ratios = np.array([known[with_a] - known[with_b] for _, (with_a, with_b) in rows])
        described: JsonObject = {
            "a": a,
            "b": b,
            "texts": len(rows),
            "mean": None,
            "low": None,
            "high": None,
        }
        if rows:
            means = [
                float(ratios[rng.integers(0, len(rows), len(rows))].mean()) for _ in range(DRAWS)
            ]
            low, high = interval(np.array(means))
            described |= {"mean": float(ratios.mean()), "low": low, "high": high}
        distinct = {text: float(ratio) for (text, _), ratio in zip(rows, ratios, strict=True)}
        order = sorted(distinct, key=lambda text: -abs(distinct[text]))[:LARGEST]
        described["largest"] = [{"text": text, "ratio": distinct[text]} for text in order]
        result.append(described)
    return {"confidence": CONFIDENCE, "texts": len(texts), "pairs": result}
