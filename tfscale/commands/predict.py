"""`tfscale predict`: labels, tags, answers or texts by a fine-tuned task, its exported file,
or that of a text classifier."""

from jsonargparse import Namespace

from tfscale.commands.command import Command, values_of
from tfscale.commands.parser import Option, Word
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print


def run(options: Namespace) -> JsonObject:
    """Returns `predictions`, one for each example."""
    from tfscale.api import predict

    return {"predictions": predict(**values_of(options))}


def show(result: JsonObject) -> None:
    """Prints a line for each prediction."""
    for prediction in result["predictions"]:
        print(prediction)


COMMAND = Command(
    name="predict",
    description=(
        "Predicts labels, tags, answers or texts with a folder of tfscale finetune, with its"
        " exported file, or with a text classifier of your own that tfscale.export_keras wrote."
    ),
    takes=(
        Word("target", "TASK_DIR|FILE.tflite", "A folder of tfscale finetune, or its export."),
        Option("text", str, "A text to predict for.", ""),
        Option("question", str, "The question, for the task answer.", ""),
        Option("file", str, "A file of examples, as for finetune; labels are not needed.", ""),
        Option(
            "beams",
            int,
            "Hypotheses of a beam search, for translate and summarize; 1 is greedy.",
            1,
        ),
        Option("threads", int, "CPU threads; no effect on a folder of finetune.", 1),
    ),
    run=run,
    show=show,
)
