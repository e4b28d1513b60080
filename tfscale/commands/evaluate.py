"""`tfscale evaluate`: perplexity and bits per byte, or accuracy in multiple choice."""

from typing import Annotated

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import TARGET, THREADS, Option
from tfscale.commands.scores import score_figures
from tfscale.compat.quiet import load_tensorflow
from tfscale.files.json_text import JsonObject
from tfscale.registry import CHOICE_FORMS, NameIn
from tfscale.terminal import print
from tfscale.ui.tables import number, print_figures, print_table


def run(options: Namespace) -> JsonObject:
    """Scores the text or the split; `evaluate_run` says which figures there are."""
    load_tensorflow()
    from tfscale.api import evaluate

    return evaluate(**values_of(options))


def show(result: JsonObject) -> None:
    """Prints the figures."""
    if "choices" in result:
        show_choices(result)
        return
    if "groups" in result:
        counted = any("unknown_share" in group for group in result["groups"].values())
        rows = [
            [
                name,
                number(g["examples"]),
                number(g["value"]),
                f"{number(g['low'])} to {number(g['high'])}",
                *([f"{100 * g['unknown_share']:.3g} %"] if counted else []),
            ]
            for name, g in result["groups"].items()
        ]
        columns = ["group", "examples", result["metric"].replace("_", " "), "95 % of samples"]
        print_table([*columns, *(["unknown tokens"] if counted else [])], rows)
        gap = result["gap"]
        print(
            f"largest gap: {number(gap['value'])} ({number(gap['low'])} to {number(gap['high'])}), "
            f"{gap['highest']} above {gap['lowest']}"
        )
        for label, value in result.get("equalized_odds", {}).items():
            shown = "no two groups have its rates" if value is None else number(value)
            print(f"equalized odds difference of {label}: {shown}")
        return
    print_figures(score_figures(result))


def show_choices(result: JsonObject) -> None:
    """Prints the metrics of questions of multiple choice with their standard errors."""
    metrics = [name for name in result if f"{name}_stderr" in result]
    print_table(
        ["metric", "value", "standard error"],
        [[name, number(result[name]), number(result[f"{name}_stderr"])] for name in metrics],
    )
    if groups := result.get("groups"):
        rows = [
            [name, number(own["examples"]), *(number(own[metric]) for metric in metrics)]
            for name, own in groups.items()
        ]
        print_table(["group", "examples", *metrics], rows)
    figures = {"examples": result["examples"]}
    if "chance" in result:
        figures["accuracy of guessing"] = result["chance"]
    if result["shots"]:
        figures["examples before each question"] = result["shots"]
    if result["cut"]:
        figures["choices with a context that was cut"] = result["cut"]
    if result["unknown_tokens"]:
        figures["unknown tokens"] = result["unknown_tokens"]
    print_figures(figures)


COMMAND = Command(
    name="evaluate",
    description="Computes perplexity and bits per byte of a run or of an exported file, or its"
    " accuracy in multiple choice.",
    takes=(
        TARGET,
        Option(
            "text",
            list[str],
            "Text files to score, each one document, or each record; labelled examples for a task;"
            " questions for --choices.",
            [],
        ),
        Option("data", str, "Data folder to score a split of; a run's own if left out."),
        Option("split", str, "Split of the data folder.", "validation"),
        Option("slice_by", str, "Field of the examples: a score per value.", ""),
        Option(
            "text_field",
            str,
            "The field of a record that holds its text.",
            "text",
        ),
        Option(
            "output",
            str,
            "With --slice-by, an HTML file to write: table and picture of the groups.",
            "",
        ),
        Option(
            "choices",
            Annotated[str, NameIn(CHOICE_FORMS, explained=True, or_empty=True)],
            "Form of the questions of multiple choice that --text names.",
            "",
        ),
        Option("shots", int, "With --choices, examples with answers before each question.", 0),
        Option("shots_text", list[str], "Files of these examples.", []),
        THREADS,
    ),
    run=run,
    show=show,
)
