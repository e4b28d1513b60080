"""The base of the steps: errors that a user can mend are left in the folder."""

import abc
from collections.abc import Iterator
from typing import Any, ClassVar

import apache_beam as beam

from tfscale.data.beam.folder import BUSY, Order, WorkFolder
from tfscale.data.beam.job import Job, load_job
from tfscale.errors import TfscaleError
from tfscale.files.locks import Held, hold
from tfscale.files.write_errors import REFUSED, write_error


class Watched(beam.DoFn):
    """A step whose worker is known to be alive while it works.

    A runner that waits for a worker for ever, as Beam's own job service does, is ended so.

    Args:
        folder: the shared folder.
    """

    def __init__(self, folder: WorkFolder):
        self.folder = folder
        self._busy: Held | None = None

    def start_bundle(self) -> None:
        """Locks a file of the folder."""
        self.folder.check_seen()
        self.finish_bundle()
        self._busy = hold(self.folder.new(BUSY))

    def finish_bundle(self) -> None:
        """Removes the file."""
        if self._busy is not None:
            self._busy.release()
            self._busy = None


class Step(Watched, abc.ABC):
    """A step of the pipeline that leaves files.

    A runner would try a step again that raises an error, and then show a trace of a worker. So what
    the user has to mend is left as a message, and the step returns nothing: the steps after it have
    nothing to do, and the pipeline ends.

    Attributes:
        rank: its place among the steps.
    """

    rank: ClassVar[int]

    @property
    def job(self) -> Job:
        """The job that every step shares."""
        return load_job(self.folder)

    def process(self, element: Any) -> Iterator[Any]:
        """Does the work of an element, in a worker."""
        try:
            yield from self.work(element)
        except TfscaleError as error:
            self.fail(error)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self.fail(write_error(self.job.config.output, error))

    @abc.abstractmethod
    def work(self, element: Any) -> Iterator[Any]:
        """Does the work of an element.

        Raises:
            TfscaleError: what the user has to mend.
        """

    def fail(self, error: TfscaleError, *order: int) -> None:
        """Leaves an error; `order` is its place within the step."""
        self.folder.say(self.place(*order), error=error)

    def place(self, *order: int) -> Order:
        """Returns the place of something within the step."""
        return (self.rank, *order)
