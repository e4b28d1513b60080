"""Collects the code blocks of all pages, and says how each of them is tested.

Fences of these languages are known; a block of another language, or of none, is a mistake that
`test_blocks.py` finds:

| fence | what a test does with it |
|---|---|
| python | runs it; the blocks of a page run in their order, in one namespace (`STAND_IN`) |
| sh | parses each command by the real parser; commands of its name are run by another test (`RUNS`) |
| yaml | parses it by the command that its first line names |
| toml, json | parses it, and reads it as the code that it is for |
| kotlin, swift | compares its names with a real file (`RUN_BY`) |

Pages whose blocks another test runs are in `RUN_BY`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "savedmodels/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]
LANGUAGES = ("python", "sh", "yaml", "toml", "json", "kotlin", "swift")

RUN_BY = {
    ("docs/keras.md", "python"): "tests/test_keras_docs.py",
    ("docs/device.md", "kotlin"): "tests/test_device_docs.py",
    ("docs/device.md", "swift"): "tests/test_device_docs.py",
    ("docs/tutorials/colab.md", "python"): "tests/test_notebooks.py",
    ("CONTRIBUTING.md", "python"): "tests/test_docs.py",
}
"""Page and language -> the test that runs these blocks."""

_STEPS, _CLOZE = "tests/test_every_step.py", "tests/inference/test_cloze.py"
RUNS = {
    **dict.fromkeys(("prepare", "train", "evaluate", "generate", "export", "benchmark"), _STEPS),
    **dict.fromkeys(("fill", "correct"), _CLOZE),
    **dict.fromkeys(("finetune", "predict"), "tests/tasks/test_finetune.py"),
    "compare": "tests/workflows/test_compare.py",
    "compress": "tests/compress/test_compress.py",
    "embed": "tests/inference/test_embedding.py",
    "explain": "tests/analysis/test_explaining.py",
    "import": "tests/runs/test_hub_run.py",
    "launch": "tests/launching/test_training_processes.py",
    "plan": "tests/commands/test_plugins.py",
    "swap": "tests/analysis/test_swaps.py",
    "tpu-check": "tests/workflows/tpu_check/test_tpu_check.py",
    "trim": "tests/compress/test_vocabulary.py",
    "vectors": "tests/data/test_vectors.py",
}
"""Command of a shell block -> the test that runs it, by the command line's own entry point."""

SMALL = {
    'corpus="python-stdlib", vocabulary_size=4096': 'text="book.txt", documents="paragraph",'
    " vocabulary_size=400, processes=1",
    "TransformerConfig(hidden_dim=128)": "TransformerConfig(sequence_length=32, hidden_dim=16,"
    " num_layers=1, num_heads=2)",
    "TrainConfig(steps=500)": 'TrainConfig(steps=2, global_batch_size=4, xla="off")',
    'output="export", quantize="int8"': 'output="export", quantize="int8", parity_tokens=64,'
    " prefill_lengths=[8]",
}
STAND_IN: dict[str, dict[str, str]] = {
    "README.md": SMALL
    | {
        "epochs=3, steps_per_epoch=500": "epochs=1, steps_per_epoch=2",
        "clip_norm=1.0": "clip_norm=1.0, xla=False",
    },
    "docs/index.md": SMALL,
    "docs/device.md": {
        "embedding=True": "embedding=True, parity_tokens=64, prefill_lengths=[8]",
    },
    "docs/export.md": {
        'quantize="int8"': 'quantize="int8", parity_tokens=64, prefill_lengths=[8]',
    },
    "docs/memory.md": {
        "steps_per_epoch=500": "steps_per_epoch=1",
        "remat=True": "remat=True, xla=False",
    },
    "docs/tasks.md": {'output="task"': 'output="task", epochs=1'},
}
"""Page -> parts of its code -> what a test takes instead, so that it costs seconds. Each part must
be there."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page's path in the repository.
        line: The line of the fence, from 1.
        language: The word after the fence.
        code: What stands between the fences.
    """

    page: str
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        """The page and the line of the fence."""
        return f"{self.page}:{self.line}"


def text_of(page: str) -> str:
    """Reads a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str | None = None) -> list[Block]:
    """Returns the blocks of a page, of one language or of all."""
    text = text_of(page)
    found = [
        Block(page, text.count("\n", 0, match.start()) + 1, match[2].strip(), match[3])
        for match in FENCED.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def prose(page: str) -> str:
    """Returns a page without its blocks."""
    return FENCED.sub("", text_of(page))


def program(page: str) -> str:
    """Returns the Python of a page as one program, small enough for a test.

    Lines keep their numbers, so that a traceback names the line of the page.
    """
    lines = [""] * len(text_of(page).splitlines())
    for block in blocks(page, "python"):
        code = block.code.splitlines()
        lines[block.line : block.line + len(code)] = code
    source = "\n".join(lines)
    for part, small in STAND_IN.get(page, {}).items():
        assert part in source, f"{page} no longer has {part!r}: change STAND_IN"
        source = source.replace(part, small)
    return source


def commands(block: Block) -> list[list[str]]:
    """Returns the words of each command of a shell block.

    A line that ends with a backslash or within quotes goes on in the next one; a comment is left
    out.
    """
    found = []
    lines = iter(block.code.replace("\\\n", " ").splitlines())
    for line in lines:
        while True:
            try:
                words = shlex.split(line, comments=True)
                break
            except ValueError:
                line += "\n" + next(lines)
        if words:
            found.append(words)
    return found
