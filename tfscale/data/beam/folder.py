"""The folder that all workers see: the files between the steps, and what they have to say."""

import os
import pickle
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfscale.errors import TfscaleError

Order = tuple[int, ...]
"""Where something happened, as the engine of one machine would meet it: the step, then the file."""
BUSY = "busy"
"""The kind of files that workers lock while they work."""
_MESSAGES = "messages"
_OUTCOME = "outcome"


class Message(NamedTuple):
    """A message of a step for the user.

    Attributes:
        order: its place among all messages.
        lines: for stderr.
        error: what ends the work; None if nothing does.
    """

    order: Order
    lines: Sequence[str]
    error: TfscaleError | None


@dataclass(frozen=True)
class WorkFolder:
    """A folder of files that are written once, each under a name that nothing else has.

    Example:
        folder = WorkFolder("data.tmp-1f0c2d3e/work")
        folder.load(folder.save("chunk", [1, 2]))    # [1, 2]
    """

    path: str

    def make(self) -> None:
        """Makes the folder."""
        os.makedirs(os.path.join(self.path, _MESSAGES))

    def check_seen(self) -> None:
        """Refuses to go on in a worker that does not see the folder.

        Raises:
            RuntimeError: it is not there; nothing can be left in it.
        """
        if not os.path.isdir(self.path):
            raise RuntimeError(
                f"a worker does not see {self.path}; the output folder must lie on a file system"
                " that all workers see under the same path"
            )

    def new(self, kind: str) -> str:
        """Returns the path of a file that is not there yet."""
        return os.path.join(self.path, f"{kind}-{secrets.token_hex(12)}")

    def save(self, kind: str, value: object) -> str:
        """Writes a value to a new file; returns its path."""
        path = self.new(kind)
        with open(path, "wb") as file:
            pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
        return path

    @staticmethod
    def load(path: str) -> Any:
        """Returns a value that was saved."""
        with open(path, "rb") as file:
            return pickle.load(file)

    def files(self, kind: str) -> list[str]:
        """Returns the paths of all files of a kind."""
        names = (name for name in os.listdir(self.path) if name.startswith(f"{kind}-"))
        return [os.path.join(self.path, name) for name in names]

    def say(
        self, order: Order, lines: Sequence[str] = (), error: TfscaleError | None = None
    ) -> None:
        """Leaves a message; one that is left twice is there once."""
        name = ("error" if error else "lines") + "".join(f"-{number:012}" for number in order)
        # Not every error can be pickled; what the user sees can.
        plain = (type(error), str(error)) if error else None
        self._put(os.path.join(_MESSAGES, name), (order, lines, plain))

    def messages(self) -> list[Message]:
        """Returns the messages in their order, to the first error."""
        names = os.listdir(os.path.join(self.path, _MESSAGES))
        found = [
            _message(*self.load(os.path.join(self.path, _MESSAGES, name)))
            for name in names
            if name.startswith(("error", "lines"))
        ]
        # What was said before an error comes first.
        found.sort(key=lambda message: (message.order, message.error is not None))
        errors = (at for at, message in enumerate(found) if message.error)
        return found[: next(errors, len(found)) + 1]

    def failed_before(self, order: Order) -> bool:
        """Returns whether an error was met that comes before a place."""
        limit = "error" + "".join(f"-{number:012}" for number in order)
        names = os.listdir(os.path.join(self.path, _MESSAGES))
        return any(name.startswith("error") and name < limit for name in names)

    def finish(self, outcome: object) -> None:
        """Leaves the result of the last step."""
        self._put(_OUTCOME, outcome)

    def outcome(self) -> Any:
        """Returns the result of the last step; None if it was not reached."""
        path = os.path.join(self.path, _OUTCOME)
        return self.load(path) if os.path.exists(path) else None

    def _put(self, name: str, value: object) -> None:
        """Writes a file at once, whoever else writes it."""
        os.replace(self.save("put", value), os.path.join(self.path, name))


def _message(
    order: Order, lines: Sequence[str], plain: tuple[type[TfscaleError], str] | None
) -> Message:
    if plain is None:
        return Message(order, lines, None)
    error = plain[0].__new__(plain[0])
    error.args = (plain[1],)
    return Message(order, lines, error)
