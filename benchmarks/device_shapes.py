"""Files of the same shape in our runner and in llama.cpp: decoding, the first token, and memory.

    python -m benchmarks.device_shapes --llama-cpp FOLDER [--shapes 4x256 30x576] [--threads 1]
        [--rounds 3] [--folder FILES]
    (FOLDER: `npm pack @node-llama-cpp/linux-x64@3.22.1`, unpacked: package/bins/linux-x64)
    python -m benchmarks.device_shapes tflite --shape 30x576 --kind int8 --file FILE
    python -m benchmarks.device_shapes gguf --shape 30x576 --kind int8 --file FILE
    python -m benchmarks.device_shapes ours --file FILE      (also: llama --file FILE)

The weights are random: no value changes how long a product takes. Kinds are float32, int8
(llama.cpp: Q8_0) and int4 (Q4_0, with the table of tokens in Q8_0, as ours has it in int8).
llama.cpp runs with its defaults: a cache of float16, and its own choice of attention; ours has a
cache of float32.

Each side is a process of its own, in turn, `--rounds` times. A row shows the best round of each
side; its ratio, by which it is judged, is the median of the rounds' ratios. Speeds are per second
of the processor's time, in which other programs count for less than by the clock; with several
threads they are by the clock. Memory is what a side's resident memory rose by after its
imports, once it has read a prompt and decoded. `--folder` keeps the files for the next run.
"""

import argparse
import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.llama_cpp import LlamaCpp
from benchmarks.rounds import measure
from benchmarks.table import Row, Wanted, show
from tfscale.files.paths import atomic_write
from tfscale.files.temporary import temporary_folder

CONTEXT = 256
PROMPT = [7 + 13 * place % 500 for place in range(32)]
TOKENS = 32
REPEATS = 3
SHAPES: dict[str, dict[str, int]] = {
    "4x256": {
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
        "num_kv_heads": 2,
        "feed_forward_dim": 704,
        "vocabulary_size": 8192,
    },
    "30x576": {
        "hidden_dim": 576,
        "num_layers": 30,
        "num_heads": 9,
        "num_kv_heads": 3,
        "feed_forward_dim": 1536,
        "vocabulary_size": 2048,
    },
}
"""Llama shapes with tied tables: 5.0 M and 107.4 M weights."""
KINDS = {"float32": ("none", "F32"), "int8": ("int8", "Q8_0"), "int4": ("int4", "Q4_0")}
"""Kind -> recipe of ours, type of GGUF."""

FIGURES = [("decode", "tokens/s", max), ("first_token", "ms", min), ("memory", "of the file", max)]
"""What is measured, in which unit, and which round of several is shown."""
WANTED = {
    kind: {
        "decode": Wanted(">=", 0.9 if kind == "float32" else 1.0),
        "first_token": Wanted("<=", 1.0),
        "memory": None,
    }
    for kind in KINDS
}


def write_tflite(shape: str, kind: str, path: str) -> dict[str, Any]:
    """Writes a file of ours."""
    import tfscale
    from tfscale.exporting.tflite import export_tflite

    config = tfscale.preset("llama-nano", sequence_length=CONTEXT, **SHAPES[shape])
    content = export_tflite(tfscale.build_network(config, seed=3), KINDS[kind][0])  # type: ignore[arg-type]
    with atomic_write(path) as file:
        file.write(content)
    return {"bytes": len(content)}


def write_gguf(shape: str, kind: str, path: str) -> dict[str, Any]:
    """Writes a GGUF file of architecture `llama`, without a tokenizer."""
    import gguf

    # The writer opens its file itself, by the name.
    with temporary_folder(path) as folder:
        temporary = os.path.join(folder, os.path.basename(path))
        with contextlib.closing(gguf.GGUFWriter(temporary, "llama")) as writer:
            _fill(writer, shape, kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        os.replace(temporary, path)
    return {"bytes": os.path.getsize(path)}


def _fill(writer: Any, shape: str, kind: str) -> None:
    import gguf

    size = SHAPES[shape]
    width, inner = size["hidden_dim"], size["feed_forward_dim"]
    head = width // size["num_heads"]
    narrow = head * size["num_kv_heads"]
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(size["num_layers"])
    writer.add_feed_forward_length(inner)
    writer.add_head_count(size["num_heads"])
    writer.add_head_count_kv(size["num_kv_heads"])
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(size["vocabulary_size"])
    writer.add_tokenizer_model("no_vocab")
    numbers = np.random.default_rng(3)

    def matrix(name: str, rows: int, columns: int, form: str) -> None:
        values = 0.02 * numbers.standard_normal((rows, columns), np.float32)
        stored = gguf.GGMLQuantizationType[form]
        writer.add_tensor(name, gguf.quants.quantize(values, stored), raw_dtype=stored)

    form = KINDS[kind][1]
    matrix("token_embd.weight", size["vocabulary_size"], width, "F32" if form == "F32" else "Q8_0")
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for layer in range(size["num_layers"]):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(width, np.float32))
        matrices = {
            "attn_q": (width, width),
            "attn_k": (narrow, width),
            "attn_v": (narrow, width),
            "attn_output": (width, width),
            "ffn_gate": (inner, width),
            "ffn_up": (inner, width),
            "ffn_down": (width, inner),
        }
        for name, (rows, columns) in matrices.items():
            matrix(f"blk.{layer}.{name}.weight", rows, columns, form)


class LlamaCppDecoder(LlamaCpp):
    """llama.cpp as its users run it, which computes logits of the last token alone."""

    def __init__(self, path: str, folder: str, threads: int):
        super().__init__(path, folder, CONTEXT, threads)

    def _context_options(self, context: int, threads: int) -> Any:
        options = self._llama.llama_context_default_params()
        options.n_ctx, options.n_threads, options.n_threads_batch = context, threads, threads
        return options

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads tokens after those before; returns the logits (V,) after the last."""
        given = np.asarray(ids, np.int32)
        batch = self._llama.llama_batch_get_one(given.ctypes.data, len(ids))
        if status := self._llama.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {status}")
        flat = self._llama.llama_get_logits(self._context)
        return np.ctypeslib.as_array(flat, (self.vocabulary_size,))


def ours(path: str, threads: int) -> dict[str, Any]:
    """Times our runner."""
    from tfscale.device.decoder import LiteRTDecoder

    return timed(lambda: LiteRTDecoder(path, threads), path, threads)


def llama(path: str, folder: str, threads: int) -> dict[str, Any]:
    """Times llama.cpp."""
    return timed(lambda: LlamaCppDecoder(path, folder, threads), path, threads)


def resident() -> dict[str, int]:
    """Returns bytes of resident memory by kind: in all, of its own, of mapped files, shared."""
    status = Path("/proc/self/status").read_text()
    kinds = {"all": "VmRSS", "own": "RssAnon", "mapped": "RssFile", "shared": "RssShmem"}
    return {
        kind: 1024 * int(re.findall(rf"^{field}:\s+(\d+)", status, re.MULTILINE)[0])
        for kind, field in kinds.items()
    }


def timed(open_decoder: Callable[[], Any], path: str, threads: int) -> dict[str, Any]:
    """Returns the best rates of a decoder, and the memory that it took."""
    clock = time.process_time if threads == 1 else time.perf_counter
    before = resident()
    decoder = open_decoder()
    first, rest = [], []
    for _ in range(REPEATS):
        decoder.reset()
        started = clock()
        logits = decoder.feed(PROMPT)
        first.append(clock() - started)
        started = clock()
        for _ in range(TOKENS):
            logits = decoder.feed([int(logits.argmax())])
        rest.append(clock() - started)
    rose = {kind: size - before[kind] for kind, size in resident().items()}
    return {
        "decode": TOKENS / min(rest),
        "first_token": 1000 * min(first),
        "memory": rose["all"] / os.path.getsize(path),
        "rose": rose,
    }


def rows(options: argparse.Namespace, folder: str) -> Iterator[Row]:
    """Measures all shapes and kinds."""
    for shape in options.shapes:
        for kind in options.kinds:
            paths = {
                form: os.path.join(folder, f"{shape}-{kind}.{form}") for form in ("tflite", "gguf")
            }
            for form, path in paths.items():
                if not os.path.exists(path):
                    made = "--shape", shape, "--kind", kind, "--file", path
                    measure("device_shapes", form, *made)
            threads = "--threads", options.threads
            peer = *threads, "--llama-cpp", options.llama_cpp
            both = [
                (
                    measure("device_shapes", "ours", "--file", paths["tflite"], *threads),
                    measure("device_shapes", "llama", "--file", paths["gguf"], *peer),
                )
                for _ in range(options.rounds)
            ]
            for figure, unit, better in FIGURES:
                ours, theirs = zip(*((a[figure], b[figure]) for a, b in both), strict=True)
                yield Row(
                    shape,
                    f"{kind}, {figure.replace('_', ' ')}",
                    unit,
                    better(ours),
                    better(theirs),
                    "llama.cpp",
                    WANTED[kind][figure] if shape == "30x576" else None,
                    tuple(a / b for a, b in zip(ours, theirs, strict=True)),
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = ["rows", "tflite", "gguf", "ours", "llama"]
    parser.add_argument("task", choices=tasks, nargs="?", default="rows")
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--shapes", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--kinds", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--file")
    parser.add_argument("--folder")
    parser.add_argument(
        "--llama-cpp",
        default=os.environ.get("TFSCALE_LLAMA_CPP"),
        help="folder of llama.cpp's libraries (default: TFSCALE_LLAMA_CPP of the environment)",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.task in ("rows", "llama") and not os.path.isdir(options.llama_cpp or ""):
        parser.error(f"--llama-cpp should be a folder; received {options.llama_cpp!r}")
    if options.task == "rows":
        if options.folder:
            os.makedirs(options.folder, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            show(list(rows(options, options.folder or temporary)), Console())
        return
    result = {
        "tflite": lambda: write_tflite(options.shape, options.kind, options.file),
        "gguf": lambda: write_gguf(options.shape, options.kind, options.file),
        "ours": lambda: ours(options.file, options.threads),
        "llama": lambda: llama(options.file, options.llama_cpp, options.threads),
    }[options.task]()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
