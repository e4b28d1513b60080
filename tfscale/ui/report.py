"""A report that is one HTML file: tables, the loss curve, samples and checks, in light and dark, on
a phone too.

Nothing is loaded from elsewhere: the style and the curve (SVG) are inside the file.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tfscale.files.paths import atomic_write

Table = tuple[str, Sequence[str], Sequence[Sequence[Any]]]
"""Caption, column names, rows."""

_COLOURS = {
    "#101010": "currentColor",
    "#202020": "var(--muted)",
    "#303030": "var(--line)",
    "#404040": "var(--first)",
    "#505050": "var(--second)",
}
"""Colours that the curve is drawn in and what they become, so that it follows the page's light and
dark style."""


def render_report(
    path: str,
    title: str,
    tables: Iterable[Table],
    history: Sequence[Mapping[str, Any]] | None = None,
    samples: Iterable[tuple[str, str]] = (),
    checks: Iterable[Mapping[str, Any]] = (),
    figure: tuple[str, str] = ("", ""),
) -> None:
    """Writes a self-contained HTML report.

    Args:
        path: the .html file, written atomically.
        title: heading of the page.
        tables: caption, column names and rows; numbers are formatted, strings are shown as they
            are. Where all column names are empty the table has no head.
        history: lines of a run's history.jsonl: `loss` and `val_loss` (nats per token) are drawn
            over `step`.
        samples: prompts and what a model wrote after them.
        checks: rows with `name`, `value`, `rule`, `limit` and `passed`; a row without limit is
            shown as measured.
        figure: caption and inline SVG of a picture that comes before the tables, as `themed` makes
            it.

    Example:
        render_report("report.html", "A run", [("Sizes", ("file", "bytes"), [("model.tflite", 5_580_800)])],
                      history=read_json_lines("run/history.jsonl"), samples=[("def main(", "self):")])
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["cell"] = format_cell
    check_rows = list(checks)
    page = environment.from_string(_TEMPLATE).render(
        title=title,
        tables=[
            (
                caption,
                list(names),
                list(rows),
                [_is_numeric(column) for column in zip(*rows, strict=True)],
            )
            for caption, names, rows in tables
        ],
        curve=loss_curve(history or ()),
        legend=[
            (label, _COLOURS[colour], losses[-1])
            for label, colour, _, losses in _series(history or ())
        ],
        samples=list(samples),
        figure=figure,
        checks=check_rows,
        failed=sum(not row["passed"] for row in check_rows),
        limited=sum(row.get("limit") is not None for row in check_rows),
    )
    with atomic_write(path, "w") as file:
        file.write(page)


def format_cell(value: Any) -> str:
    """A value as a table shows it: 1234567 as 1,234,567, 0.000123456 as 0.0001235, None as a dash.

    Example:
        format_cell(21_299_476), format_cell(0.25), format_cell(1234.5)  # "21,299,476", "0.25", "1,234"
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def _is_numeric(column: Sequence[Any]) -> bool:
    numbers = [
        isinstance(value, int | float) and not isinstance(value, bool)
        for value in column
        if value is not None
    ]
    return bool(numbers) and all(numbers)


def loss_curve(history: Iterable[Mapping[str, Any]]) -> str:
    """Training and validation loss over steps as an inline SVG; "" where there is nothing to
    draw."""
    series = _series(history)
    if not series:
        return ""
    import matplotlib
    from matplotlib.figure import Figure

    # Text stays text (the page's font, readable by a screen reader); the salt makes the same curve
    # the same bytes.
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "tfscale", "font.size": 10}
    ):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        for _, colour, steps, losses in series:
            marker = "o" if colour == "#505050" or len(steps) == 1 else None
            axes.plot(
                steps,
                losses,
                color=colour,
                linewidth=1.6 if marker else 1.1,
                marker=marker,
                markersize=3.5,
            )
        axes.set_xlabel("optimizer step", color="#202020")
        axes.set_ylabel("loss (nats per token)", color="#202020")
        axes.grid(axis="y", color="#303030", linewidth=0.7)
        axes.tick_params(colors="#202020", length=0)
        axes.margins(x=0.01)
        for side in axes.spines.values():
            side.set_visible(False)
        drawing = io.StringIO()
        figure.savefig(
            drawing, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return themed(drawing.getvalue(), "Training and validation loss over optimizer steps")


def _series(
    history: Iterable[Mapping[str, Any]],
) -> list[tuple[str, str, list[float], list[float]]]:
    """Name, drawn colour, steps and finite losses of each curve that the history has."""
    records = list(history)
    series: list[tuple[str, str, list[float], list[float]]] = []
    for key, label, colour in (
        ("loss", "training", "#404040"),
        ("val_loss", "validation", "#505050"),
    ):
        points = [
            (record["step"], record[key])
            for record in records
            if record.get(key) is not None and math.isfinite(record[key])
        ]
        if points:
            series.append(
                (label, colour, [step for step, _ in points], [loss for _, loss in points])
            )
    return series


def themed(svg: str, label: str) -> str:
    """A drawing of matplotlib without its XML head, with the page's colours and width, and a label
    for who reads it."""
    svg = svg[svg.index("<svg") :]
    for drawn, shown in _COLOURS.items():
        svg = svg.replace(drawn, shown)
    head, body = svg.split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{label}">{body}'


_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --page: #f7f7f5; --card: #ffffff; --text: #1c1d20; --muted: #62656d; --line: #e2e2de;
  --first: #2f6fb0; --second: #c2571a; --good: #1d7a46; --bad: #b3261e; --prompt: #eef1f4; }
@media (prefers-color-scheme: dark) {
  :root { --page: #141517; --card: #1c1e21; --text: #e8e8e6; --muted: #a0a4ac; --line: #33363b;
    --first: #74aee6; --second: #f09a5f; --good: #62c48d; --bad: #f2877f; --prompt: #262a2f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-size: 16px; }
main { max-width: 1040px; margin: 0 auto; padding: 2rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1.25rem; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.1rem;
  margin: 0 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .38rem .8rem .38rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 500; }
tr:last-child td { border-bottom: 0; }
td:last-child, th:last-child { padding-right: 0; }
table.plain td:last-child { overflow-wrap: anywhere; }
.number { text-align: right; white-space: nowrap; }
table.plain td:first-child { color: var(--muted); width: 38%; }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .35em; }
.state { white-space: nowrap; }
.passed { color: var(--good); } .failed { color: var(--bad); font-weight: 600; } .measured { color: var(--muted); }
svg { display: block; width: 100%; max-width: 600px; height: auto; margin: 0 auto; }
svg text { font-family: inherit !important; }
pre { margin: 0 0 .7rem; padding: .8rem .9rem; border: 1px solid var(--line); border-radius: 8px; overflow-x: auto;
  font: .86rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
pre:last-child { margin-bottom: 0; }
pre .prompt { background: var(--prompt); border-radius: 3px; } pre .completion { color: var(--first); }
@media (max-width: 560px) {
  .word { display: none; } th, td { padding-right: .6rem; } section { padding: .9rem .8rem; } }
.legend { color: var(--muted); font-size: .86rem; margin: 0 0 .6rem; }
</style>
</head>
<body>
<main>
<h1>{{ title }}</h1>
{% macro table_section(caption, names, rows, numeric) %}
<section>
<h2>{{ caption }}</h2>
<div class="scroll"><table{% if not names | select | list %} class="plain"{% endif %}>
{% if names | select | list %}
<thead><tr>
{% for name in names %}
<th{% if numeric and numeric[loop.index0] %} class="number"{% endif %}>{{ name }}</th>
{% endfor %}
</tr></thead>
{% endif %}
<tbody>
{% for row in rows %}
<tr>
{% for value in row %}
<td{% if numeric[loop.index0] %} class="number"{% endif %}>{{ value | cell }}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
</section>
{% endmacro %}
{% for table in tables[:1] %}
{{ table_section(*table) }}
{% endfor %}
{% if figure[1] %}
<section>
<h2>{{ figure[0] }}</h2>
{{ figure[1] | safe }}
</section>
{% endif %}
{% if curve %}
<section>
<h2>Loss</h2>
<p class="legend">
{% for label, colour, loss in legend %}
<span class="key" style="background: {{ colour }}"></span>{{ label }}, last {{ "%.3f" | format(loss) }}&emsp;
{% endfor %}
</p>
{{ curve | safe }}
</section>
{% endif %}
{% if samples %}
<section>
<h2>Samples</h2>
<p class="legend">What was given is shaded; what the model wrote follows it.</p>
{% for prompt, completion in samples %}
<pre><span class="prompt">{{ prompt }}</span><span class="completion">{{ completion }}</span></pre>
{% endfor %}
</section>
{% endif %}
{% if checks %}
<section>
<h2>Checks: {% if failed %}{{ failed }} of {{ limited }} failed{% else %}all {{ limited }} passed{% endif %}</h2>
<div class="scroll"><table class="checks">
<thead><tr><th>check</th><th class="number">value</th><th class="number">limit</th><th></th></tr></thead>
<tbody>
{% for row in checks %}
<tr><td>{{ row.name | replace("_", " ") }}</td><td class="number">{{ row.value | cell }}</td>
{% if row.limit is none %}
<td class="number">–</td><td class="state measured"><span class="word">measured</span></td>
{% else %}
<td class="number">{{ {"<=": "≤", ">=": "≥", "==": "="}[row.rule] }} {{ row.limit | cell }}</td>
{% if row.passed %}
<td class="state passed">✓<span class="word"> passed</span></td>
{% else %}
<td class="state failed">✗<span class="word"> failed</span></td>
{% endif %}
{% endif %}
</tr>
{% endfor %}
</tbody></table></div>
</section>
{% endif %}
{% for table in tables[1:] %}
{{ table_section(*table) }}
{% endfor %}
</main>
</body>
</html>
"""
