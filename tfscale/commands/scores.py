"""The figures of a score for a person, and the reason where there are no bits per byte."""

from tfscale.files.json_text import JsonObject
from tfscale.ui.tables import number


def score_figures(score: JsonObject) -> JsonObject:
    """Returns the figures of `tfscale.text.score.Score.to_dict` as names and values to print."""
    figures = {
        name.replace("_", " "): value
        for name, value in score.items()
        if not isinstance(value, dict)
    }
    figures.pop("unknown share", None)
    if "unknown_tokens" in score:
        figures["unknown tokens"] = unknown(score["unknown_tokens"], score["tokens"])
    if not figures.get("charged bits per byte"):
        figures.pop("charged bits per byte", None)
    if "bits_per_byte" in score and score["bits_per_byte"] is None:
        figures["bits per byte"] = (
            "- (what the tokens lose of the text was not counted; prepare the data again)"
        )
    cleaning = figures.pop("cleaning", None)
    if cleaning:
        figures["bytes"] = (
            f"{number(score['bytes'])} (of the text as cleaned: {', '.join(cleaning)})"
        )
    return figures


def unknown(count: int | None, tokens: int) -> str:
    """Returns unknown tokens and their share, such as "1,234 (5.67 %)"; a dash if not counted."""
    return (
        "- (not counted)" if count is None else f"{count:,} ({100 * count / max(tokens, 1):.3g} %)"
    )
