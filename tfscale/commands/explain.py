"""`tfscale explain`: why a model predicts what it does."""

from jsonargparse import Namespace

from tfscale.commands.command import Command
from tfscale.commands.parser import Word, build_config
from tfscale.config.tasks import ExplainConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table

_BAR = 12
"""Characters of the longest bar."""


def run(options: Namespace) -> JsonObject:
    """Returns the parts of the text with their weights, and how far they can be trusted."""
    config = build_config(ExplainConfig, options)
    from tfscale.api import explain

    return explain(options.target, config)


def show(result: JsonObject) -> None:
    """Prints a row for each part, in the order of the text, and the figures of the whole."""
    strongest = max(abs(part["weight"]) for part in result["parts"])
    rows = []
    for part in result["parts"]:
        weight = part["weight"]
        length = round(_BAR * abs(weight) / (strongest or 1.0))
        against, speaks_for = ("-" * length, "") if weight < 0 else ("", "+" * length)
        bar = f"{against:>{_BAR}}|{speaks_for:<{_BAR}}"
        rows.append(
            [
                repr(part["text"]),
                number(weight),
                bar,
                "strongest" if abs(weight) == strongest else "",
            ]
        )
    lime = result["method"] == "lime"
    head = [
        "word" if lime else "token",
        "probability" if lime else "nats",
        f"{'against':>{_BAR}}|for",
        "",
    ]
    print_table(head, rows, left=(0, 2, 3))
    what = f"label {result['label']}" if "label" in result else f"token {result['target_token']!r}"
    print(f"{what}: probability {number(result['probability'])}")
    if lime:
        print(f"R2 of the linear model: {number(result['fit'])}")
        return
    print(
        f"the weights add up to {number(result['above_baseline'])} nats above zero vectors, "
        f"within {number(result['completeness_error'])}"
    )
    if result["unread_tokens"]:
        print(
            "tokens outside of the model's window, which weigh nothing:"
            f" {number(result['unread_tokens'])}"
        )


COMMAND = Command(
    name="explain",
    description="Explains the label of a text by a folder of tfscale finetune, or the last token of"
    " a text by a run.",
    takes=(
        Word(
            "target",
            "TASK_DIR|RUN_DIR",
            "A folder of tfscale finetune, a run folder, or for lime a classifier's export.",
        ),
        ExplainConfig,
    ),
    run=run,
    show=show,
)
