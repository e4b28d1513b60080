"""Registries: names without imports, names that are taken, and plugins that are installed."""

import os
import subprocess
import sys

import pytest

import tfscale
from tfscale.errors import ConfigError
from tfscale.registry import FORMATS, Registry, register


class Thing:
    """Anything that can be registered."""


def test_names_are_known_without_an_import():
    code = (
        "import sys, tfscale.registry as r\n"
        "print(*r.FORMATS.names()); print(*r.FAMILIES.names()); print(*r.RECIPES.names())\n"
        "print(*r.TASKS.names()); print(*r.TOKENIZERS.names()); print(*r.READERS.names())\n"
        "print(*r.SCHEDULES.names()); print(*r.FILTERS.names()); print(*r.REMOVALS.names())\n"
        "print(*r.CHOICE_FORMS.names())\n"
        "print(sorted(set(sys.modules) & {'tensorflow', 'keras', 'numpy', 'tfscale.tasks'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "arpa gguf huggingface keras_preset litertlm ngram saved_model tflite web",
        "bert bilstm gru lstm ngram nnlm rnn transformer",
        "float16 int4 int4_all int8 none",
        "answer classify summarize tag translate",
        "bpe byte char huggingface sentencepiece sentencepiece_file word wordpiece",
        "arrow conll csv jsonl parquet text tfrecord tsv warc wikipedia",
        "constant cosine inverse_sqrt linear wsd",
        "c4 fineweb gopher_quality gopher_repetition language length symbols",
        "emails keys phones",
        "arc choices hellaswag lambada mmlu piqa",
        "[]",
    ], done.stderr


def test_what_is_not_there_is_one_line_with_the_closest_name():
    with pytest.raises(ConfigError, match="^no export format 'tflit'; did you mean 'tflite'\\?$"):
        FORMATS.get("tflit")
    with pytest.raises(ConfigError, match="^no export format '###'; there are arpa, gguf, "):
        FORMATS.get("###")


def test_a_name_belongs_to_one_module():
    registry: Registry[type] = Registry("thing", "tfscale.no_such_folder")
    other = type("Other", (), {"__module__": "elsewhere"})
    registry.add("a", Thing)
    registry.add("a", Thing)  # The same module again, as when it is reloaded.
    assert registry.get("a") is Thing and "a" in registry and list(registry) == [Thing]
    with pytest.raises(
        ConfigError, match="^the thing 'a' is already registered, by .*test_registry$"
    ):
        registry.add("a", other)
    with pytest.raises(
        ConfigError, match="^the export format 'tflite' is already registered, by tfs"
    ):
        FORMATS.add("tflite", other)
    with pytest.raises(ConfigError, match="^a registered thing needs a name; received ''$"):
        registry.add("", other)


def test_register_takes_interfaces_alone():
    with pytest.raises(
        ConfigError, match="^register takes a subclass of LanguageNetwork, ExportFo"
    ):
        register(Thing)


PLUGIN = """
import tfscale

@tfscale.register
class Lines(tfscale.Reader):
    name, suffixes = "installed_lines", (".lines",)

    def documents(self, file, reading):
        with file.open() as stream:
            yield from (line.decode() for line in stream)
"""


def test_an_installed_plugin_is_found_by_its_entry_point(tmp_path):
    (tmp_path / "lines_plugin.py").write_text(PLUGIN)
    info = tmp_path / "lines_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lines-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tfscale.plugins]\nlines = lines_plugin\n")
    root = os.path.dirname(os.path.dirname(tfscale.__file__))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
    code = "from tfscale.registry import READERS; print('installed_lines' in READERS)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr
    (tmp_path / "lines_plugin.py").write_text("import no_such_library\n")
    words = [
        sys.executable,
        "-m",
        "tfscale.cli",
        "export",
        "run",
        "--output",
        "x",
        "--format",
        "tfl",
    ]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: plugin lines_plugin cannot be ")
