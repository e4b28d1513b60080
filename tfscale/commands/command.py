"""`Command`: what each command of the command line consists of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jsonargparse import Namespace

from tfscale.commands.arguments import parse_words
from tfscale.commands.parser import CONFIG_FILE, CommandParser, Entry
from tfscale.files.json_text import JsonObject


def _done(result: JsonObject) -> int:
    return 0


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: it parses its words, calls the Python function of its name, and prints.

    Attributes:
        name: as it is typed; `tfscale.commands.table` has it too.
        description: the first lines of its own help.
        takes: its words and options, in the order of the help.
        make_parser: makes its parser, where that takes more than `takes`.
        parse_words: reads its words where that takes more than its parser.
        run: does the work; imports what is heavy, so that help and mistakes cost no time. The
            result is what `--json` prints.
        show: prints the result for a person.
        exit_code: result -> exit code.
    """

    name: str
    description: str = ""
    takes: Sequence[Entry] = ()
    make_parser: Callable[[], CommandParser] | None = None
    parse_words: Callable[[Sequence[str]], Namespace] | None = None
    run: Callable[[Namespace], JsonObject]
    show: Callable[[JsonObject], None]
    exit_code: Callable[[JsonObject], int] = _done

    def build_parser(self) -> CommandParser:
        """Returns a new parser of the words after the name."""
        if self.make_parser is not None:
            return self.make_parser()
        return CommandParser(self.name, self.description, self.takes)

    def parse(self, words: Sequence[str]) -> Namespace:
        """Reads the words after the name.

        Raises:
            ConfigError: an option that is unknown, misspelt, missing or of the wrong type.
        """
        if self.parse_words is not None:
            return self.parse_words(words)
        return parse_words(self.build_parser(), words)


def values_of(options: Namespace) -> JsonObject:
    """Returns the words and options of a command, by the names that its Python function takes."""
    general = ("json", CONFIG_FILE.name)
    return {name: value for name, value in vars(options).items() if name not in general}
