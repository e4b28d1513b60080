"""Mistakes that are found in a worker: the line of the engine of one machine, and nothing is left."""

import shutil

import pytest

from tests.data.beam.comparing import messy, prose, write_paragraphs
from tfscale.config import PrepareConfig
from tfscale.data.beam.tokenizing import Encode
from tfscale.data.prepare import prepare
from tfscale.errors import ConfigError, EngineError, TfscaleError
from tfscale.registry import FILTERS, READERS, TOKENIZERS

BEAM = {"engine": "beam", "beam": {"runner": "DirectRunner"}}


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        write_paragraphs(folder / f"{number}.txt", messy(5, 100 * number))
    return folder


def message(tmp_path, **options):
    with pytest.raises(TfscaleError) as error:
        prepare(PrepareConfig(output=str(tmp_path / "data"), **options), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    return type(error.value), str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {"vocabulary_size": 5},
        {"tokenizer": "byte", "shards": 10**6},
        {"documents": "file", "min_characters": 10**6},
        {
            "tokenizer": "byte",
            "documents": "file",
            "test_fraction": 0.0,
            "validation_fraction": 0.5,
        },
    ],
)
def test_mistakes_in_options(files, tmp_path, options):
    if options.get("documents") == "file" and "min_characters" not in options:
        # Two documents that are the same cannot make two splits.
        for path in files.iterdir():
            path.write_text(prose(1))
    options = {"text": [str(files)], "documents": "paragraph"} | options
    assert message(tmp_path, **options, **BEAM) == message(tmp_path, **options)


def test_the_first_damaged_file_is_named(files, tmp_path):
    for name in ("1.txt", "2.txt"):
        (files / name).write_bytes(b"fine so far\n" * 10000 + b"\xff\xff")
    (files / "9.txt").write_bytes(b"")
    options = {"text": [str(files)], "tokenizer": "byte", "validation_text": [str(files / "9.txt")]}
    options["text"] = [str(files / f"{number}.txt") for number in range(3)]
    found = message(tmp_path, **options, **BEAM)
    assert found == message(tmp_path, **options)
    assert "1.txt" in found[1]


def test_an_empty_part_comes_before_a_damaged_one(files, tmp_path):
    (files / "0.txt").write_text("")
    (files / "1.txt").write_bytes(b"\xff\xff")
    options = {"text": [str(files / "0.txt")], "validation_text": [str(files / "1.txt")]}
    found = message(tmp_path, **options, tokenizer="byte", **BEAM)
    assert found == message(tmp_path, **options, tokenizer="byte")
    assert "the train text is empty" in found[1]


def test_a_job_service_that_does_not_answer(files, tmp_path):
    beam = {"runner": "PortableRunner", "job_endpoint": "localhost:1", "job_server_timeout": 1}
    kind, text = message(tmp_path, text=[str(files)], tokenizer="byte", engine="beam", beam=beam)
    assert kind is EngineError
    assert text.endswith("does not answer at the address of --beam.job_endpoint")


def test_a_step_that_fails(files, tmp_path, monkeypatch):
    def broken(self, task):
        raise ZeroDivisionError("of a worker")
        yield

    monkeypatch.setattr(Encode, "work", broken)
    kind, text = message(tmp_path, text=[str(files)], tokenizer="byte", **BEAM)
    assert kind is EngineError
    assert "ZeroDivisionError: of a worker" in text
    assert "\n" not in text


def test_classes_of_a_script_are_refused_where_a_worker_may_need_them(files, tmp_path, monkeypatch):
    for registry in (TOKENIZERS, FILTERS, READERS):
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))

    class OwnTokenizer(TOKENIZERS.get("byte")):
        kind = "own"

    class OwnFilter(FILTERS.get("gopher_quality")):
        name = "own"

    class OwnReader(READERS.get("csv")):
        name, suffixes = "own", (".own",)

    options = {"text": [str(files)], "documents": "paragraph", "tokenizer": "byte"}
    for kind in (OwnTokenizer, OwnFilter):
        kind.enter_registry()
    # Neither is asked for.
    prepare(PrepareConfig(output=str(tmp_path / "data"), **options, **BEAM), progress=False)
    shutil.rmtree(tmp_path / "data")
    for changes in ({"tokenizer": "own"}, {"filters": ["own"]}):
        kind, text = message(tmp_path, **options | changes, **BEAM)
        assert kind is ConfigError and "is defined in a script or a function" in text
    OwnReader.enter_registry()
    kind, text = message(tmp_path, **options, **BEAM)
    assert kind is ConfigError and "OwnReader is defined in a script or a function" in text
