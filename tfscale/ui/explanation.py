"""The page of `tfscale explain`: the text with each part coloured by its weight, and a table of the
parts."""

from tfscale.files.json_text import JsonObject
from tfscale.ui.rendering import render
from tfscale.ui.report import render_report

_STRONGEST = 55
"""Per cent of the colour behind the strongest part; the text on it stays readable in light and
dark."""


def write_explanation(path: str, result: JsonObject) -> None:
    """Writes the page.

    Args:
        path: the .html file.
        result: what `tfscale.analysis.explaining.explain` returned.

    Example:
        write_explanation("why.html", tfscale.explain("task", text="a fine film"))
    """
    what = result["label"] if "label" in result else result["target_token"]
    measure = "log-odds" if "label" in result else "log-probability"
    names = {
        "probability": "probability",
        "fit": "fit of the linear model (R2)",
        "above_baseline": f"{measure} above that of zero vectors (nats)",
        "completeness_error": "completeness error (nats)",
        "unread_tokens": "tokens outside the window",
    }
    unit = "probability" if result["method"] == "lime" else "nats"
    ranked = sorted(result["parts"], key=lambda part: -abs(part["weight"]))
    render_report(
        path,
        f"Why {what!r}",
        [
            (
                "The prediction",
                ("", ""),
                [
                    ("method", result["method"].replace("_", " ")),
                    *((name, result[key]) for key, name in names.items() if key in result),
                ],
            ),
            (
                "Parts by weight",
                ("part", unit),
                [(repr(part["text"]), part["weight"]) for part in ranked],
            ),
        ],
        figure=("The text", _coloured(result)),
    )


def _coloured(result: JsonObject) -> str:
    strongest = max(abs(part["weight"]) for part in result["parts"]) or 1.0
    parts = [
        (
            part["text"],
            f"{part['weight']:+.3g}",
            "first" if part["weight"] > 0 else "second",
            round(_STRONGEST * abs(part["weight"]) / strongest),
        )
        for part in result["parts"]
    ]
    return render(
        "tfscale.ui", "explanation.html.j2", parts=parts, target=result.get("target_token", "")
    )
