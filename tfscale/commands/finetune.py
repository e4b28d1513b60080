"""`tfscale finetune`: a trained run and labelled examples to a model of a task."""

from jsonargparse import Namespace

from tfscale.commands import train
from tfscale.commands.command import Command
from tfscale.commands.parser import RUN_DIR, build_config
from tfscale.compat.quiet import load_tensorflow
from tfscale.config.tasks import TaskConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import to_stderr
from tfscale.ui.tables import number, print_table


def run(options: Namespace) -> JsonObject:
    """Fine-tunes; returns the summary with the metrics of each split."""
    config = build_config(TaskConfig, options)
    load_tensorflow()
    from tfscale.tasks.finetune import finetune

    return finetune(options.run_dir, config, to_stderr)


def show(result: JsonObject) -> None:
    """Prints the metrics of each split beside those of the baseline."""
    train.show_interruption(result)
    if result.get("interrupted"):
        return
    rows = []
    for split in ("validation", "test"):
        for name, value in result.get(split, {}).items():
            if isinstance(value, float):
                base = result[split]["baseline"][name]
                rows.append([f"{split} {name.replace('_', ' ')}", number(value), number(base)])
    print_table(["", "model", "baseline"], rows)


COMMAND = Command(
    name="finetune",
    description="Trains a run on labelled examples of a task, with a head where it needs one;"
    " scores it beside a baseline.",
    takes=(RUN_DIR, TaskConfig),
    run=run,
    show=show,
    exit_code=train.exit_code,
)
