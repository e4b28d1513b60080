"""The parity report of an export: compared values, their limits, and what else parity.json says."""

from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from tfscale.errors import ExportError
from tfscale.registry import RECIPES

if TYPE_CHECKING:
    from tfscale.device.bench import Benchmark

_FEW_TOKENS = 1000
"""Held-out tokens below which shares and perplexities of a right file may fail by chance."""


class Check(TypedDict):
    """One compared value: `limit` is None where it is measured only."""

    name: str
    value: float
    rule: str
    limit: float | None
    passed: bool


class Sizes(TypedDict, total=False):
    """Bytes of the file and of what it is made of, and n-grams of each order."""

    file_bytes: int
    gzip_bytes: int
    bundle_bytes: int
    weight_bytes: int
    float32_weight_bytes: int
    keras_bytes: int
    ngrams: list[int]


class ReportedTokens(TypedDict):
    """Held-out tokens: where they come from, how many, and how many of them are unknown."""

    source: str
    tokens: int
    unknown_tokens: NotRequired[int]


class ReportedExamples(TypedDict):
    """Examples of a task: where they come from, and how many."""

    source: str
    examples: int


class ReportedRounding(TypedDict):
    """How rounding was learned, and the loss of a token in nats, on windows that it did not learn
    from: of the nearest numbers, and of those learned."""

    method: str
    calibration_windows: int
    calibration_seed: int
    unseen_windows: int
    loss: dict[str, float]


Quality = dict[str, dict[str, float]]
"""accuracy or mean_squared_error -> that of the network ("keras") and that of the file ("file")."""


class Report(TypedDict, total=False):
    """The parity report, the content of parity.json; entries are there where they apply.

    `decodes` says whether a language model's file generates, and `why_it_scores` why it does not;
    `compared_by` says in words what read the file; `softmax_left_out` that the network gives
    probabilities, and the file their logits. `stop_tokens` end a completion; `turns_end_with` are
    tokens of chat formats that do not. `chat_template` is "as it was" where a bundle has that of
    the tokenizer, and says otherwise why it has not. `perplexity` and `pseudo_perplexity` are those
    before and after; `held_out` and `compared_on` say on what the comparison was made. `quality` is
    by the output's name.
    """

    passed: bool
    quantize: str
    checks: list[Check]
    format: str
    output: str
    sizes: Sizes
    tokens: int
    vocabulary_size: int
    decodes: bool
    why_it_scores: str
    softmax_left_out: bool
    stop_tokens: list[str]
    turns_end_with: list[str]
    chat_template: str
    perplexity: dict[str, float]
    pseudo_perplexity: dict[str, float]
    greedy: dict[str, str]
    compared_by: str
    speed: "Benchmark"
    operations: dict[str, dict[str, int]]
    signatures: dict[str, list[str]]
    held_out: ReportedTokens
    rounding: ReportedRounding
    compared_on: ReportedExamples
    quality: dict[str, Quality]
    versions: dict[str, str]


class Checks:
    """Compared values with their limits.

    Example:
        checks.add("weight_difference", 0.0, "==", 0.0)
    """

    def __init__(self) -> None:
        self.rows: list[Check] = []

    def add(self, name: str, value: float, rule: str, limit: float | None) -> None:
        """Adds a row.

        Args:
            name: what was compared.
            value: the measured value.
            rule: "<=", ">=" or "==", between value and limit.
            limit: None for a measurement, which passes.
        """
        compare = {"<=": np.less_equal, ">=": np.greater_equal, "==": np.equal}[rule]
        passed = limit is None or bool(compare(value, limit))
        self.rows.append(
            {"name": name, "value": value, "rule": rule, "limit": limit, "passed": passed}
        )

    @property
    def passed(self) -> bool:
        """Whether all values are within their limits."""
        return all(row["passed"] for row in self.rows)

    def report(self, quantize: str, rest: Report) -> Report:
        """Returns a parity report with these checks.

        Args:
            quantize: the recipe that was applied.
            rest: the other entries.
        """
        return {"passed": self.passed, "quantize": quantize, "checks": self.rows, **rest}


def require(report: Report) -> None:
    """Refuses a report with a failed check.

    Raises:
        ExportError: names the first failed check, its value and its limit.
    """
    failed = [row for row in report["checks"] if not row["passed"]]
    if not failed:
        return
    row, quantize = failed[0], report["quantize"]
    more = f" ({len(failed) - 1} more checks fail)" if len(failed) > 1 else ""
    advice = RECIPES.get(quantize).advice
    tokens = report.get("tokens", _FEW_TOKENS)
    if tokens < _FEW_TOKENS and row["name"].startswith(("top1", "perplexity", "pseudo")):
        advice += f"; {tokens} held-out tokens say little: give {_FEW_TOKENS:,} or more"
    raise ExportError(
        f"the {quantize} file fails its parity check: {row['name']} is {row['value']:.4g}, which"
        f" must be {row['rule']} {row['limit']:.4g}{more}; nothing was written{advice}"
    )
