"""`tfscale predict`: labels, tags, answers or texts by a fine-tuned task or its exported file."""

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import new_parser
from tfscale.commands.command import Command
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print


def build_parser() -> ArgumentParser:
    """The options of `tfscale predict`."""
    parser = new_parser(
        "predict", "Predicts by a folder of tfscale finetune, or by its exported file."
    )
    parser.add_argument(
        "target",
        metavar="TASK_DIR|FILE.tflite",
        help="A folder of tfscale finetune, or its export.",
    )
    parser.add_argument("--text", type=str, default="", help="A text to predict for.")
    parser.add_argument(
        "--question", type=str, default="", help="The question, for the task answer."
    )
    parser.add_argument(
        "--file",
        type=str,
        default="",
        help="A file of examples, as for finetune; labels are not needed.",
    )
    parser.add_argument(
        "--beams",
        type=int,
        default=1,
        help="Hypotheses of a beam search, for translate and summarize; 1 is greedy.",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; no effect on a folder of finetune."
    )
    return parser


def run(options: Namespace) -> JsonObject:
    """Returns `predictions`, one for each example."""
    from tfscale.api import predict

    found = predict(
        options.target,
        text=options.text,
        question=options.question,
        file=options.file,
        beams=options.beams,
        threads=options.threads,
    )
    return {"predictions": found}


def show(result: JsonObject) -> None:
    """Prints a line for each prediction."""
    for prediction in result["predictions"]:
        print(prediction)


COMMAND = Command(
    "predict",
    "labels, tags, answers or a new text of a text or a file, by a fine-tuned model",
    build_parser,
    run,
    show,
)
