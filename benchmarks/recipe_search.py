"""A recorded search for a recipe: which options of model and training reach a given loss soonest.

    python -m benchmarks.recipe_search run --trials trials.jsonl --table table.jsonl --folder DIR
        --characters tinyshakespeare=FILE --text bible=FILE [--threads 1] [--jobs 1]
    python -m benchmarks.recipe_search show --table table.jsonl [--corpus NAME] [--cpu-seconds 60]

A line of trials.jsonl is a trial, or one for each of several seeds:

    {"corpus": "bible", "model": {"hidden_dim": 192}, "train": {"steps": 600}, "seed": [0, 1, 2]}

`model` has the options of a family, and its name as `family` where it is no Transformer; `train`
those of `tfscale train`. Corpora are `python-stdlib`, which every Python has, and the texts that
are named: their first 90 % train, the rest validates. Tokens are pieces of SentencePiece, or
characters for the texts of --characters. DIR keeps the prepared data.

`run` appends a line for each finished trial to the table, and leaves out those that are there. A
trial is a process of its own, with as many threads as --threads says. `show` prints, for each
corpus, the mean loss over the seeds and half of its range: after the most tokens of training that
all trials have, and after CPU seconds that all trials had, when the schedule of a slower trial is
still on its way.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from rich.console import Console

from benchmarks.__main__ import machine
from benchmarks.corpus import cut, read_text, write
from benchmarks.recipe_table import show
from benchmarks.rounds import BenchmarkError, measure
from tfscale.config import NetworkConfig, PrepareConfig, TrainConfig, make_config
from tfscale.config.models import network_families
from tfscale.errors import ConfigError, TfscaleError

BUILT_IN = "python-stdlib"
VOCABULARY_SIZE = 4096
KEYS = {"corpus", "model", "train", "seed"}


@dataclass(frozen=True)
class Trial:
    """A training that is tried.

    Attributes:
        corpus: name of its text.
        model: options of the model, and perhaps its `family`.
        train: options of the training, without the seed.
        seed: of weights, data order and dropout.
    """

    corpus: str
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    seed: int

    def key(self, data: str) -> str:
        """Returns what tells it from other trials: its options, and the digest of its data."""
        return json.dumps([dataclasses.asdict(self), data], sort_keys=True)


def configs(options: Mapping[str, Any]) -> tuple[NetworkConfig, TrainConfig]:
    """Returns the configs of the options `model`, `train` and `seed`.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    model = dict(options.get("model", {}))
    families, family = network_families(), model.pop("family", "transformer")
    if family not in families:
        raise ConfigError(f"no family {family!r}; there are {', '.join(sorted(families))}")
    train = dict(options.get("train", {})) | {"seed": options.get("seed", 0)}
    return make_config(families[family], model), make_config(TrainConfig, train)


def read_trials(path: str, corpora: Sequence[str]) -> list[Trial]:
    """Returns the trials of a file, one for each seed.

    Args:
        path: the file, one JSON object a line.
        corpora: the names that a trial can have.

    Raises:
        ConfigError: a line is no trial, or its options are wrong; the line's number is named.
    """
    trials = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            trials += _trials_of(line, corpora)
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from error
    return trials


def _trials_of(line: str, corpora: Sequence[str]) -> Iterator[Trial]:
    options = json.loads(line)
    if not isinstance(options, dict) or (unknown := set(options) - KEYS):
        found = ", ".join(sorted(unknown)) if isinstance(options, dict) else line
        raise ConfigError(f"a trial has {', '.join(sorted(KEYS))}; received {found}")
    corpus = options.get("corpus")
    if corpus not in corpora:
        raise ConfigError(f"no corpus {corpus!r}; there are {', '.join(corpora)}")
    if "seed" in options.get("train", {}):
        raise ConfigError("the seed is the trial's own, beside model and train")
    if "minutes" in options.get("train", {}):
        raise ConfigError("the steps of so many minutes depend on what else runs; give steps")
    seeds = options.get("seed", 0)
    for seed in seeds if isinstance(seeds, list) else [seeds]:
        configs({**options, "seed": seed})
        yield Trial(corpus, options.get("model", {}), options.get("train", {}), seed)


@dataclass(frozen=True)
class Corpus:
    """A text that is prepared when a trial first needs it.

    Attributes:
        name: of the text.
        path: its file; None for the built-in one.
        characters: whether each character is a token.
    """

    name: str
    path: str | None = None
    characters: bool = False

    def prepare(self, folder: Path, vocabulary_size: int) -> str:
        """Returns the data folder, which is made if it is not there."""
        from tfscale.data.prepare import prepare

        kind = "char" if self.characters else "sentencepiece"
        where = folder / f"{self.name}-{platform.python_version()}-{vocabulary_size}"
        options: dict[str, Any] = {"corpus": BUILT_IN}
        if self.path is not None:
            parts, texts = cut(read_text(self.path)), folder / f"{self.name}-text"
            texts.mkdir(parents=True, exist_ok=True)
            names = [texts / "train.txt", texts / "validation.txt"]
            digests = [write(name, part)[:8] for name, part in zip(names, parts, strict=True)]
            where = folder / f"{self.name}-{kind}-{vocabulary_size}-{digests[0]}{digests[1]}"
            options = {"text": [str(names[0])], "validation_text": [str(names[1])]}
            options["test_fraction"] = 0.0
        if not (where / "manifest.json").exists():
            config = PrepareConfig(
                output=str(where), tokenizer=kind, vocabulary_size=vocabulary_size, **options
            )
            prepare(config, progress=False)
        return str(where)


def described(data: str) -> dict[str, Any]:
    """Returns what a row says of its data folder; rows of one `digest` compare."""
    from tfscale.data.manifest import Manifest

    manifest = Manifest.load(data)
    shards = [shard.sha256 for split in manifest.splits.values() for shard in split.shards]
    digest = hashlib.sha256(" ".join([manifest.tokenizer_digest, *shards]).encode())
    return {
        "digest": digest.hexdigest()[:16],
        "tokenizer": manifest.tokenizer_kind,
        "vocabulary_size": manifest.vocabulary_size,
        "tokens": {name: split.tokens for name, split in manifest.splits.items()},
    }


def read_table(path: str) -> list[dict[str, Any]]:
    """Returns the rows of a table; none where there is no such file.

    Raises:
        BenchmarkError: a line is not whole.
    """
    if not os.path.exists(path):
        return []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise BenchmarkError(f"{path}, line {number} is not whole; take it out") from error
    return rows


def row_key(row: Mapping[str, Any]) -> str:
    """Returns the key of the trial that a row of the table is of."""
    trial = Trial(row["corpus"], row["model"], row["train"], row["seed"])
    return trial.key(row["data"]["digest"])


def search(
    options: argparse.Namespace,
    corpora: Mapping[str, Corpus],
    run: Callable[..., dict[str, Any]] = measure,
) -> int:
    """Runs the trials that the table lacks; returns how many.

    Args:
        options: of the command line.
        corpora: by name.
        run: runs a module of this package and returns its result.
    """
    trials = read_trials(options.trials, list(corpora))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    done = {row_key(row) for row in read_table(options.table)}
    os.environ.update(
        TF_NUM_INTRAOP_THREADS=str(options.threads), TF_NUM_INTEROP_THREADS=str(options.threads)
    )
    data = {
        name: corpora[name].prepare(Path(options.folder), options.vocabulary_size)
        for name in dict.fromkeys(trial.corpus for trial in trials)
    }
    about = {name: described(folder) for name, folder in data.items()}
    by_key = {trial.key(about[trial.corpus]["digest"]): trial for trial in trials}
    missing = [trial for key, trial in by_key.items() if key not in done]
    print(f"{len(by_key)} trials, {len(missing)} to run", file=sys.stderr, flush=True)
    lock, on = Lock(), {name: machine()[name] for name in ("processor", "cores", "system")}

    def take(trial: Trial) -> None:
        given = json.dumps(dataclasses.asdict(trial))
        result = run("recipe_trial", given, "--data", data[trial.corpus])
        row = dataclasses.asdict(trial) | {"data": about[trial.corpus], **result}
        row |= {"threads": options.threads, "machine": on}
        with lock, open(options.table, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        losses = [check["loss"] for check in result["checks"]]
        ended = result["failed"] or (f"loss {losses[-1]:.4f}" if losses else "no validation")
        print(f"{given}: {ended}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(take, missing))
    return len(missing)


def named(pair: str) -> tuple[str, str]:
    """Returns the two sides of NAME=FILE."""
    name, equals, path = pair.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=FILE; received {pair!r}")
    return name, path


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the trials that the table lacks, and show it")
    run.add_argument("--trials", required=True, help="JSON lines")
    run.add_argument("--folder", required=True, help="keeps the prepared data")
    for name, tokens in (("text", "pieces of SentencePiece"), ("characters", "characters")):
        run.add_argument(
            f"--{name}", type=named, action="append", default=[], help=f"NAME=FILE, {tokens}"
        )
    run.add_argument("--vocabulary-size", type=int, default=VOCABULARY_SIZE)
    run.add_argument("--threads", type=int, default=1, help="threads of a trial")
    run.add_argument("--jobs", type=int, default=1, help="trials at a time")
    printed = commands.add_parser("show", help="show the table")
    for command in (run, printed):
        command.add_argument("--table", required=True, help="JSON lines, one for each trial")
        command.add_argument("--corpus", default="", help="show this one alone")
        command.add_argument(
            "--cpu-seconds", type=float, default=0.0, help="time to compare at; 0 takes the most"
        )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    # A table in a file or a pipe is as wide as it needs to be.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        if options.command == "run":
            texts = [Corpus(name, path) for name, path in options.text]
            texts += [Corpus(name, path, True) for name, path in options.characters]
            search(options, {text.name: text for text in [Corpus(BUILT_IN), *texts]})
        rows = read_table(options.table)
        show([r for r in rows if options.corpus in ("", r["corpus"])], options.cpu_seconds, console)
    except TfscaleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
