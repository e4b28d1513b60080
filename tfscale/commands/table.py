"""The table of the commands: their names, and a line about each for `tfscale --help`.

It imports nothing else: a command's module comes with the parser and the option classes, and is
imported when the command is asked for. So the overview and a misspelt name cost no time.
"""

import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfscale.commands.command import Command

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "From text to a file for a phone": {
        "quickstart": "all of it on the Python standard library, in minutes",
        "prepare": "text -> tokenizer, token shards, manifest",
        "train": "token shards -> a trained model; goes on where it was stopped",
        "evaluate": "perplexity or multiple choice, of a run or a .tflite file",
        "generate": "complete a prompt with a run or an exported file",
        "export": "a run -> a file for the device, proven to compute the same",
        "benchmark": "time a .tflite file on this machine",
    },
    "Other beginnings": {
        "import": "a preset of keras-hub (GPT-2, Llama, Gemma) -> a run folder",
        "vectors": "word2vec on a data folder's tokens, for train --vectors",
        "compare": "several families on the same data and budget, in one table",
    },
    "Tasks, and questions to a model": {
        "finetune": "a run and labelled examples -> a model of a task",
        "predict": "labels, tags, answers or texts by a fine-tuned model",
        "explain": "what each token of a text adds to a label or the next token",
        "fill": "the most likely tokens for a gap, by a bidirectional model",
        "correct": "words that are probably misspelt, by a bidirectional model",
        "embed": "a vector for each text, from the hidden states of a run",
        "swap": "how much likelier texts are with one word than with another",
    },
    "Smaller models": {
        "compress": "a run -> a smaller one: fewer units, zeros, int8 or int4",
        "trim": "a run -> the same with only the tokens that a text needs",
    },
    "Machines": {
        "plan": "memory, time and cost of a training on paper",
        "launch": "a training in several processes of this machine, supervised",
        "tpu-check": "compile a config's steps by the TPU compiler, without a TPU",
    },
}
"""Heading -> name of a command -> what it does, in the order of `tfscale --help`."""

_MODULES = {"import": "import_preset"}
"""Modules that cannot have the command's name: `import` is a word of Python's."""


class Commands(Mapping[str, "Command"]):
    """The commands by name; looking one up imports its module.

    Example:
        list(COMMANDS)             # the names, without an import
        COMMANDS["train"].parse(["--data", "data", "--output", "run"])
    """

    def __getitem__(self, name: str) -> "Command":
        if name not in self:
            raise KeyError(name)
        module = _MODULES.get(name, name.replace("-", "_"))
        command: Command = importlib.import_module(f"tfscale.commands.{module}").COMMAND
        return command

    def __contains__(self, name: object) -> bool:
        return any(name in commands for commands in SECTIONS.values())

    def __iter__(self) -> Iterator[str]:
        return (name for commands in SECTIONS.values() for name in commands)

    def __len__(self) -> int:
        return sum(map(len, SECTIONS.values()))


COMMANDS = Commands()


def overview() -> str:
    """Returns the commands under their headings, as `tfscale --help` lists them."""
    return "\n\n".join(
        "\n".join([f"{heading}:", *(f"  {name:12}{does}" for name, does in commands.items())])
        for heading, commands in SECTIONS.items()
    )
