"""The files that `benchmarks.fuzz` damages: how they are made, and how each is read."""

import dataclasses
import hashlib
import importlib.util
import io
import json
import os
import shutil
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.fuzz_corpora import FOLDER as CORPORA
from benchmarks.fuzz_corpora import MUTATIONS, make_corpora, read_corpus

TEXT = "the cat sat on the mat, and the dog did not; naïve café, 狐.\n"
_JSON = (json.loads, lambda value: json.dumps(value).encode())
_YAML = (yaml.safe_load, lambda value: yaml.safe_dump(value).encode())


PRELOADED = (
    "tensorflow",
    "keras",
    "h5py",
    "sentencepiece",
    "tokenizers",
    "gensim.models",
    "matplotlib.figure",
    "jinja2",
    "ai_edge_litert.interpreter",
    "litert_lm",
    "litert_lm_builder",
    "tfscale.commands.arguments",
    "tfscale.commands.train",
    "tfscale.device",
    "tfscale.device.ngram",
    "tfscale.tasks.model",
    "tfscale.runs.recorder",
    "tfscale.ui.report",
    "tfscale.ngram",
    "tfscale.data.vectors",
    "tfscale.data.tokens",
    "tfscale.text.corpora",
    "pyarrow.parquet",
    "zstandard",
    "warcio",
)
"""The modules that the readers import."""


@dataclass(frozen=True)
class Case:
    """A file and how it is read.

    Attributes:
        name: the row of the table.
        mutations: how many.
        folder: of the inputs; each case has a copy.
        file: the one that is damaged.
        read: (copy of the folder, the file) -> what comes of it, of which the `repr` is compared.
        fields: how its fields are read and written, where they are damaged too.
    """

    name: str
    mutations: int
    folder: str
    file: str
    read: Callable[[Path, Path], Any]
    fields: tuple[Callable[[bytes], Any], Callable[[Any], bytes]] | None = None


def make_inputs(folder: Path) -> None:
    """Makes tiny data, runs and exports."""
    from tfscale import cli

    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text(
        "".join(f"{TEXT}{number} and {number * number % 97}\n" for number in range(300))
    )

    def command(*words: object) -> None:
        code = cli.main([str(word) for word in words])
        if code:
            raise SystemExit(f"{words} ended with {code}")

    sizes = {"sentencepiece": 320, "wordpiece": 200, "word": 60, "char": 60}
    for kind, size in sizes.items():
        command(
            "prepare",
            "--text",
            text,
            "--documents",
            "line",
            "--tokenizer",
            kind,
            "--vocabulary-size",
            size,
            "--processes",
            1,
            "--output",
            folder / f"data-{kind}",
        )
        shutil.copytree(folder / f"data-{kind}" / "tokenizer", folder / f"tokenizer-{kind}")
    data = folder / "data-sentencepiece"
    sizes_of = {
        "transformer": ("--model.hidden_dim", 16, "--model.num_layers", 1, "--model.num_heads", 2),
        "lstm": ("--model.embedding_dim", 16, "--model.hidden_dim", 16),
    }
    for family, options in sizes_of.items():
        command(
            "train",
            "--model.family",
            family,
            *options,
            "--model.sequence_length",
            16,
            "--train.steps",
            80,
            "--train.learning_rate",
            1e-2,
            "--train.log_every",
            10,
            "--train.validate_every",
            20,
            "--train.checkpoint_every",
            40,
            "--train.global_batch_size",
            4,
            "--train.tensorboard",
            "false",
            "--train.xla",
            "off",
            "--data",
            data,
            "--output",
            folder / family,
        )
        command("export", folder / family, "--output", folder / f"export-{family}")
        _bare(folder / f"export-{family}", folder / f"bare-{family}")
    command(
        "train",
        "--model.family",
        "ngram",
        "--model.order",
        3,
        "--data",
        data,
        "--output",
        folder / "ngram",
    )
    command("export", folder / "ngram", "--format", "ngram", "--output", folder / "export-ngram")
    command("export", folder / "ngram", "--format", "arpa", "--output", folder / "arpa")
    _bare(folder / "export-ngram", folder / "bare-ngram")
    shutil.copy(folder / "bare-ngram" / "model.ngram", folder / "bare-ngram" / "whole.ngram")
    rows = [
        {"text": f"a {word} film {n}", "label": word}
        for n in range(20)
        for word in ("fine", "dull")
    ]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command(
        "finetune",
        folder / "transformer",
        "--task",
        "classify",
        "--train",
        folder / "examples.jsonl",
        "--epochs",
        1,
        "--output",
        folder / "task",
    )
    command("export", folder / "task", "--output", folder / "export-task")
    if importlib.util.find_spec("litert_lm_builder"):
        _bundle(folder / "export-transformer", folder / "bundle")
        _bare(folder / "bundle", folder / "bare-bundle")
    _vectors(folder / "vectors")
    (folder / "options").mkdir()
    options_text = {
        "data": str(data),
        "output": "run",
        "model": {"family": "transformer", "hidden_dim": 32, "num_layers": 2},
        "train": {
            "steps": 10,
            "learning_rate": 0.01,
            "schedule": "constant",
            "xla": "off",
            "tensorboard": False,
        },
    }
    (folder / "options" / "config.yaml").write_text(yaml.safe_dump(options_text))
    make_corpora(folder / CORPORA)
    (folder / "complete").write_text("")


def _bare(source: Path, target: Path) -> None:
    shutil.copytree(source, target)
    (target / "model.json").unlink()


def _bundle(source: Path, target: Path) -> None:
    """The export's file in a bundle; not by the command, which wants texts of the tiny model to
    agree."""
    from tfscale.exporting.litertlm import build_bundle
    from tfscale.text.tokenizers import load_tokenizer

    target.mkdir()
    file = target / "model.litertlm"
    build_bundle(str(source / "model.tflite"), load_tokenizer(str(source)), 16, str(file))
    described = json.loads((source / "model.json").read_text())
    described |= {
        "file": file.name,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "format": "litertlm",
    }
    (target / "model.json").write_text(json.dumps(described))


def _vectors(folder: Path) -> None:
    folder.mkdir()
    rows = {
        word: np.arange(4, dtype=np.float32) + at
        for at, word in enumerate(["the", "cat", "dog", "mat"])
    }
    lines = [f"{word} {' '.join(map(str, values))}\n" for word, values in rows.items()]
    (folder / "v.txt").write_text("4 4\n" + "".join(lines))
    (folder / "g.txt").write_text("".join(lines))
    (folder / "v.bin").write_bytes(
        b"4 4\n" + b"".join(w.encode() + b" " + v.tobytes() + b"\n" for w, v in rows.items())
    )


def _generate(folder: Path, file: Path) -> Any:
    import tfscale.device

    return tfscale.device.load(str(folder)).generate("the cat", max_tokens=6).text


def _generate_bare(folder: Path, file: Path) -> Any:
    import tfscale.device

    return (
        tfscale.device.load(
            str(folder / next(n for n in os.listdir(folder) if n.startswith("model.")))
        )
        .generate("the cat", max_tokens=6)
        .text
    )


def _predict(folder: Path, file: Path) -> Any:
    import tfscale.device

    return tfscale.device.load(str(folder)).predict_text("a fine film")


def _run(folder: Path, file: Path) -> Any:

    from tfscale.runs.folder import load_run

    run = load_run(str(folder))
    return run.weights_digest, run.model_config, run.train_config, run.data_dir, run.summary


def _task(folder: Path, file: Path) -> Any:
    from tfscale.tasks.model import load_task

    task = load_task(str(folder))
    weights = [np.asarray(weight.value).tobytes() for weight in task.network.weights]
    return hashlib.sha256(b"".join(weights)).hexdigest(), task.config, task.task.labels


def _arrays(folder: Path, file: Path) -> Any:
    from tfscale.training.checkpoint import array_digest, read_arrays

    arrays, meta = read_arrays(str(file))
    return array_digest(arrays), meta


def _manifest(folder: Path, file: Path) -> Any:
    from tfscale.data.manifest import Manifest

    return Manifest.load(str(folder), verify="sha256")


def _stream(folder: Path, file: Path) -> Any:
    from tfscale.data.manifest import Manifest
    from tfscale.data.tokens import token_blocks

    manifest = Manifest.load(str(folder), verify="sha256")
    return [block.tolist() for block in token_blocks(str(folder), manifest, "train")]


def _hostile_shard(folder: Path, file: Path) -> Any:
    """The manifest says of the shard what it now is."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    for shard in content["splits"]["train"]["shards"]:
        if shard["file"] == file.name:
            shard |= {
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                "size": file.stat().st_size,
            }
    path.write_text(json.dumps(content))
    return _stream(folder, file)


def _tokenizer(folder: Path, file: Path) -> Any:
    from tfscale.text.tokenizers import load_tokenizer

    return _use(load_tokenizer(str(folder)))


def _use(tokenizer: Any) -> Any:
    ids = tokenizer.encode(TEXT)
    return ids, tokenizer.decode(ids), tokenizer.end_id, tokenizer.vocabulary_size


def _hostile_tokenizer(folder: Path, file: Path) -> Any:
    """The digest in the configuration is what it would be of this file."""
    from tfscale.registry import TOKENIZERS
    from tfscale.text.tokenizers.loading import _build

    config = json.loads((folder / "tokenizer_config.json").read_text())
    files = {file.name: file.read_bytes()}
    try:
        config["digest"] = TOKENIZERS.get(config["kind"]).from_files(config, files).digest
    except Exception:  # noqa: S110 - what it raises is looked at in the next line
        pass
    return _use(_build(config, files, str(folder)))


def _hostile_ngram(folder: Path, file: Path) -> Any:
    """Arrays are damaged inside of an archive whose checksums are right."""
    from tfscale.ngram.model import NGramModel

    content = file.read_bytes()
    draw = np.random.default_rng(list(hashlib.sha256(content).digest()))
    with np.load(io.BytesIO((folder / "whole.ngram").read_bytes())) as archive:
        arrays = dict(archive)
    if content != (folder / "whole.ngram").read_bytes():
        name = draw.choice(sorted(arrays))
        array = bytearray(arrays[name].tobytes())
        for _ in range(draw.integers(1, 4)):
            array[draw.integers(len(array))] = draw.integers(256)
        arrays[name] = np.frombuffer(bytes(array), arrays[name].dtype)
    with file.open("wb") as opened:
        np.savez(opened, **arrays)
    model = NGramModel.load(str(file))
    return model.score(np.arange(model.vocabulary_size)).nll_per_token


def _arpa(folder: Path, file: Path) -> Any:
    from tfscale.ngram import read_arpa
    from tfscale.text.tokenizers import load_tokenizer

    model = read_arpa(str(file), load_tokenizer(str(folder)))
    return model.sizes, model.score(np.arange(model.vocabulary_size)).nll_per_token


def _options(folder: Path, file: Path) -> Any:
    from tfscale.commands import train
    from tfscale.commands.parser import build_config
    from tfscale.config import TrainConfig
    from tfscale.registry import FAMILIES

    options = train.COMMAND.parse([str(file)])
    kind = FAMILIES.get(options.model.family)
    configs = [build_config(kind, options, "model")]
    if kind is not FAMILIES.get("ngram"):
        configs.append(build_config(TrainConfig, options, "train"))
    return [dataclasses.asdict(config) for config in configs], options.data, options.output


def _report(folder: Path, file: Path) -> Any:
    from tfscale.files.paths import read_json_lines
    from tfscale.ui.report import render_report

    notes: list[str] = []
    history = read_json_lines(str(file), notes.append)
    render_report(str(folder / "report.html"), "A run", [], history=history)
    return _with_notes(notes, hashlib.sha256((folder / "report.html").read_bytes()).hexdigest())


def _resume(folder: Path, file: Path) -> Any:
    from tfscale.runs.recorder import RunRecorder
    from tfscale.training.checkpoint import Checkpoints, read_arrays

    checkpoints, notes = Checkpoints(str(folder / "checkpoints")), []
    checkpoints.restored = read_arrays(checkpoints.path(checkpoints.steps()[-1]))[1]
    recorder = RunRecorder.__new__(RunRecorder)
    recorder._model = types.SimpleNamespace(workers=types.SimpleNamespace(is_chief=True))
    recorder.history_path, recorder.checkpoints = str(file), checkpoints
    recorder.progress = types.SimpleNamespace(note=notes.append)  # type: ignore[assignment]
    recorder.resume(checkpoints.steps()[-1])
    return recorder.best_loss, recorder.tokens


def _with_notes(notes: list[str], result: Any) -> Any:
    from tfscale.errors import DataError

    if notes:
        raise DataError(notes[0])
    return result


def _read_vectors(folder: Path, file: Path) -> Any:
    from tfscale.data.vectors import read_vectors

    words, vectors = read_vectors(str(file))
    return words, vectors.tobytes()


CASES = [
    Case("tflite+model.json", 60, "export-transformer", "model.tflite", _generate),
    Case("tflite bare (no model.json)", 300, "bare-transformer", "model.tflite", _generate_bare),
    Case("lstm tflite bare", 150, "bare-lstm", "model.tflite", _generate_bare),
    Case("model.json", 200, "export-transformer", "model.json", _generate, _JSON),
    Case("ngram+model.json", 60, "export-ngram", "model.ngram", _generate),
    Case("ngram bare", 300, "bare-ngram", "model.ngram", _generate_bare),
    Case("ngram hostile (checksums right)", 300, "bare-ngram", "model.ngram", _hostile_ngram),
    Case(
        "tokenizer_config.json",
        100,
        "tokenizer-sentencepiece",
        "tokenizer_config.json",
        _tokenizer,
        _JSON,
    ),
    Case("tokenizer.model", 200, "tokenizer-sentencepiece", "tokenizer.model", _tokenizer),
    Case(
        "checkpoint npz (read_arrays)", 150, "transformer/checkpoints", "step-00000080.npz", _arrays
    ),
    Case("model.keras (run)", 130, "transformer", "model.keras", _run),
    Case("config.yaml (run, load_run)", 150, "transformer", "config.yaml", _run, _YAML),
    Case("summary.json (run)", 60, "transformer", "summary.json", _run, _JSON),
    Case("manifest.json", 150, "data-sentencepiece", "manifest.json", _manifest, _JSON),
    Case("shard", 30, "data-sentencepiece", "train-00000-of-00004.tfrecord.gz", _stream),
    Case("ARPA", 100, "arpa", "model.arpa", _arpa),
    Case(
        "tokenizer wordpiece tokenizer.json",
        40,
        "tokenizer-wordpiece",
        "tokenizer.json",
        _tokenizer,
        _JSON,
    ),
    Case(
        "tokenizer wordpiece tokenizer_config.json",
        40,
        "tokenizer-wordpiece",
        "tokenizer_config.json",
        _tokenizer,
        _JSON,
    ),
    Case(
        "tokenizer word tokenizer_config.json",
        40,
        "tokenizer-word",
        "tokenizer_config.json",
        _tokenizer,
        _JSON,
    ),
    Case(
        "tokenizer word vocabulary.json", 40, "tokenizer-word", "vocabulary.json", _tokenizer, _JSON
    ),
    Case(
        "tokenizer char tokenizer_config.json",
        40,
        "tokenizer-char",
        "tokenizer_config.json",
        _tokenizer,
        _JSON,
    ),
    Case(
        "tokenizer char vocabulary.json", 40, "tokenizer-char", "vocabulary.json", _tokenizer, _JSON
    ),
    Case("train CONFIG.yaml", 150, "options", "config.yaml", _options, _YAML),
    Case("task model.json", 150, "export-task", "model.json", _predict, _JSON),
    Case("task.json", 100, "task", "task.json", _task, _JSON),
    Case("model.keras (task)", 60, "task", "model.keras", _task),
    Case("litertlm+model.json", 35, "bundle", "model.litertlm", _generate),
    Case("litertlm bare", 160, "bare-bundle", "model.litertlm", _generate_bare),
    Case("history.jsonl -> report", 90, "transformer", "history.jsonl", _report),
    Case("history.jsonl -> resume", 150, "transformer", "history.jsonl", _resume),
    Case("vectors v.txt", 50, "vectors", "v.txt", _read_vectors),
    Case("vectors g.txt", 50, "vectors", "g.txt", _read_vectors),
    Case("vectors v.bin", 50, "vectors", "v.bin", _read_vectors),
    Case(
        "tokenizer.model hostile (digest right)",
        300,
        "tokenizer-sentencepiece",
        "tokenizer.model",
        _hostile_tokenizer,
    ),
    Case(
        "tokenizer.json hostile (digest right)",
        200,
        "tokenizer-wordpiece",
        "tokenizer.json",
        _hostile_tokenizer,
        _JSON,
    ),
    Case(
        "vocabulary.json hostile (digest right)",
        100,
        "tokenizer-word",
        "vocabulary.json",
        _hostile_tokenizer,
        _JSON,
    ),
    Case(
        "shard hostile (sha fixed)",
        30,
        "data-sentencepiece",
        "train-00000-of-00004.tfrecord.gz",
        _hostile_shard,
    ),
]
CASES += [
    Case(f"corpus {name}", mutations, CORPORA, name, read_corpus)
    for name, mutations in MUTATIONS.items()
]
