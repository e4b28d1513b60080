"""The job that every step shares: options, files and cleaning, read from a file of the folder."""

import contextlib
import dataclasses
import functools
import importlib
import os
import pickle
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tfscale
from tfscale.config import PrepareConfig
from tfscale.config.fields import default_of, option_fields
from tfscale.config.quality import QualityOptions
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.quality.examining import Examination, Examined, Examiner
from tfscale.data.splits import TRAIN, Part
from tfscale.errors import ConfigError, TfscaleError
from tfscale.registry import (
    ARCHIVES,
    COMPRESSIONS,
    READERS,
    TOKENIZERS,
    VARIABLE,
    module_of,
    use_plugins,
)
from tfscale.text.cleaning import Cleaner
from tfscale.text.reader import TextFile
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.training import trainable_kind

_JOB, _RUNS = "job", "runs"
_LEAST_RUNS = 128
"""Runs of files, as far as there are so many files."""
_RUN_BYTES, _RUN_FILES = 16 << 20, 4096
"""Bytes and files of a run, at most; a larger file is a run of its own."""


@dataclass(frozen=True)
class FileRun:
    """Files of a part that one worker reads, one after the other.

    Attributes:
        part: index of the part.
        first: number of the first file among all files.
        files: the files.
    """

    part: int
    first: int
    files: Sequence[TextFile]


@dataclass(frozen=True)
class Job:
    """The options, files and cleaning that every step shares.

    Attributes:
        config: the options.
        parts: the parts of the text, in order.
        shown: the names of the files of each part, in words.
        ends: for each part the number of the file after its last one, among all files.
        cleaner: the cleaning of the documents.
        examination: how the training documents are chosen; None where no option asks for it.
        tokenizer_dir: the tokenizer that was given; None where one is trained.
        progress: whether steps say what is done.
    """

    config: PrepareConfig
    parts: Sequence[Part]
    shown: Sequence[str]
    ends: Sequence[int]
    cleaner: Cleaner
    examination: Examination | None
    tokenizer_dir: str | None
    progress: bool

    @property
    def sampled(self) -> bool:
        """Whether a tokenizer is trained on a sample of the text."""
        return self.tokenizer_dir is None and trainable_kind(self.config.tokenizer).reads_text

    def chosen(self, part: Part) -> bool:
        """Returns whether quality options choose among the documents of a part."""
        return self.examination is not None and part.split == TRAIN

    def examiner(self, part: Part) -> Callable[[Sequence[str]], list[Examined]]:
        """Returns what cleans, filters and measures the documents of a part."""
        if self.examination and self.chosen(part):
            return self.examination.start()
        plain: dict[str, Any] = {
            field.name: default_of(field) for field in option_fields(QualityOptions)
        }
        return Examiner(dataclasses.replace(self.config, **plain), self.cleaner, None)


def save_runs(folder: WorkFolder, sources: Mapping[Part, Sequence[TextFile]]) -> None:
    """Writes the files in runs of about the same size, in order; `load_runs` reads them."""
    total = sum(file.size for files in sources.values() for file in files)
    with open(os.path.join(folder.path, _RUNS), "wb") as output:
        for run in _runs(sources, min(total // _LEAST_RUNS, _RUN_BYTES)):
            pickle.dump(pickle.dumps(run), output)


def load_runs(folder: WorkFolder) -> Iterator[bytes]:
    """Yields the runs, each as `pickle.loads` reads it where the plugins are imported."""
    with open(os.path.join(folder.path, _RUNS), "rb") as file:
        with contextlib.suppress(EOFError):
            while True:
                yield pickle.load(file)


def _runs(sources: Mapping[Part, Sequence[TextFile]], most: int) -> Iterator[FileRun]:
    first = 0
    for part, files in enumerate(sources.values()):
        run, size = [], 0
        for file in files:
            run.append(file)
            size += file.size
            if size > most or len(run) == _RUN_FILES:
                yield FileRun(part, first, run)
                first, run, size = first + len(run), [], 0
        if run:
            yield FileRun(part, first, run)
            first += len(run)


def save_job(folder: WorkFolder, job: Job, tokenizer: type[Tokenizer]) -> None:
    """Writes the job, and what a worker has to import before it reads it.

    Args:
        folder: the shared folder.
        job: the job.
        tokenizer: the class of the tokenizer.

    Raises:
        ConfigError: a class of the user's that a worker cannot import. Any reader may be the one
            that a file needs.
    """
    modules = dict.fromkeys(job.examination.modules if job.examination else ())
    needed: list[tuple[str, type]] = [(TOKENIZERS.what, tokenizer)]
    for registry in (READERS, COMPRESSIONS, ARCHIVES):
        needed += [(registry.what, kind) for kind in registry.registered()]
    for what, kind in needed:
        module = module_of(kind)
        if module is None:
            raise ConfigError(
                f"the {what} {kind.__name__} is defined in a script or a function, which the"
                " workers of --engine beam cannot import; put it into a module"
            )
        modules[module] = None
    plugins = [name for name in os.environ.get(VARIABLE, "").split(",") if name]
    head = (_versions(job.config), plugins, list(modules))
    with open(os.path.join(folder.path, _JOB), "wb") as file:
        pickle.dump(head, file)
        pickle.dump(job, file)


@functools.lru_cache(maxsize=2)
def load_job(folder: WorkFolder) -> Job:
    """Reads the job, in a worker.

    Raises:
        TfscaleError: the worker has another version of tfscale or Python.
    """
    # Read by TensorFlow when the first shard is written.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with open(os.path.join(folder.path, _JOB), "rb") as file:
        versions, plugins, modules = pickle.load(file)
        use_plugins(plugins)
        for module in modules:
            importlib.import_module(module)
        job = pickle.load(file)
    if (own := _versions(job.config)) != versions:
        raise TfscaleError(
            f"a worker has {own}, and this program {versions}; both must be the same, or other"
            " tokens come out"
        )
    assert isinstance(job, Job)
    return job


def _versions(config: PrepareConfig) -> str:
    """Returns the versions that must agree; a built-in corpus is a part of Python."""
    python = platform.python_version()
    python = python if config.corpus else python.rpartition(".")[0]
    return f"tfscale {tfscale.__version__} with Python {python}"
