"""`Command`: what each command of the command line consists of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jsonargparse import ArgumentParser, Namespace

from tfscale.commands.arguments import parse_words
from tfscale.files.json_text import JsonObject


def _done(result: JsonObject) -> int:
    return 0


@dataclass(frozen=True)
class Command:
    """A command: it parses its words, calls the Python function of its name, and prints.

    Attributes:
        name: as it is typed.
        summary: a line for `tfscale --help`.
        build_parser: makes its parser.
        run: does the work; imports what is heavy, so that help and mistakes cost no time. The
            result is what `--json` prints.
        show: prints the result for a person.
        parse_words: reads its words where that takes more than its parser.
        exit_code: result -> exit code.
    """

    name: str
    summary: str
    build_parser: Callable[[], ArgumentParser]
    run: Callable[[Namespace], JsonObject]
    show: Callable[[JsonObject], None]
    parse_words: Callable[[Sequence[str]], Namespace] | None = None
    exit_code: Callable[[JsonObject], int] = _done

    def parse(self, words: Sequence[str]) -> Namespace:
        """Reads the words after the name.

        Raises:
            ConfigError: an option that is unknown, misspelt, missing or of the wrong type.
        """
        if self.parse_words is not None:
            return self.parse_words(words)
        return parse_words(self.build_parser(), words)
