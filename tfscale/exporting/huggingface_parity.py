"""Compares a folder of Hugging Face with the network that it was made from.

keras-hub's reader of such folders, which shares no code with what writes them, builds a network of
its own from the folder, and both compute the same tokens. Of options that keras-hub does not read,
the numbers in the file are compared with the weights, tensor by tensor.

Shapes: T tokens of a window, V vocabulary.
"""

import contextlib
import os
from collections.abc import Sequence

import keras
import numpy as np

from tfscale.exporting.comparison import LogitGaps, compare_choices, completed
from tfscale.exporting.limits import limits_of, relative_change
from tfscale.exporting.parity import float32_copy
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.rounded import in_type, numbers_in_place
from tfscale.exporting.safetensors_file import checkpoint_files
from tfscale.exporting.windows import Windows
from tfscale.models.hub import backbone_of
from tfscale.models.hub_writer import HubWriter, writer_of
from tfscale.models.recipe import recipe
from tfscale.models.transformer import TransformerLM
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.hub_files import JSON_FILE, MODEL_FILES
from tfscale.text.tokenizers.hugging_face import import_tokenizers

_PLAIN_TEXT = "The 12 quick brown foxes jump over a lazy dog; it didn't mind.\n\nNobody saw them."


def compare_hub_folder(
    checks: Checks,
    network: TransformerLM,
    tokenizer: Tokenizer,
    folder: str,
    held_out: Sequence[int],
    quantize: str = "none",
    document_mask: bool = False,
) -> Report:
    """Compares a folder with the network and the tokenizer that it was made from.

    Args:
        checks: receives the compared values.
        network: the trained network.
        tokenizer: its tokenizer.
        folder: as `write_hub_folder` writes it.
        held_out: ids of held-out text.
        quantize: the recipe.
        document_mask: each document is compared by itself, as it is scored.

    Returns:
        `sizes` with `file_bytes`, `compared_by`, and, where keras-hub reads the folder,
        `perplexity` of `keras` and `file` and `greedy`.
    """
    writer = writer_of(network.config)
    _compare_tensors(checks, writer, network, folder, recipe(quantize).converted_as)
    _compare_tokenizer(checks, tokenizer, folder, held_out)
    size = sum(os.path.getsize(path) for path in checkpoint_files(folder))
    report: Report = {"sizes": {"file_bytes": size}}
    if not writer.reads_back(network.config):
        by = "the tensors of the file alone, because keras-hub does not read all of these options"
        return {**report, "compared_by": by}
    ends = tokenizer.end_id, tokenizer.start_id, document_mask
    reference, by = float32_copy(network), "keras-hub, which read the folder by its own code"
    # Rounded numbers are compared with the network's own.
    limits = limits_of(network, quantize, converted=quantize != "none")
    backbone = backbone_of(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(np.errstate(invalid="ignore", over="ignore"))
        if quantize == "none" and writer.read_back_as != "none":
            # It computes with rounded numbers, and so does what it is compared with.
            stack.enter_context(numbers_in_place(reference, in_type(writer.read_back_as)))
            by += f", in {writer.read_back_as} as it reads all of this architecture"
        windows = Windows(reference, np.asarray(held_out, np.int32), *ends)
        size = windows.reference.config.vocabulary_size
        gaps = LogitGaps(windows, limits, "keras-hub")
        for ids, targets, logits in windows.whole():
            gaps.add(_logits(backbone, ids, size), logits, targets)
        perplexity, before = gaps.finish(checks), windows.score.perplexity
        change = relative_change(perplexity, before)
        checks.add("perplexity_change (keras-hub)", change, "<=", limits.perplexity_change)
        expected = completed(windows)
        read = _logits(backbone, np.array([*expected.prompt, *expected.tokens[:-1]]), size)
        chosen = compare_choices(
            checks,
            expected,
            read[len(expected.prompt) - 1 :],
            windows.spread,
            limits,
            "keras-hub",
        )
    return {
        **report,
        "tokens": windows.score.tokens,
        "compared_by": by,
        "perplexity": {"keras": before, "file": perplexity},
        "greedy": {
            "prompt": tokenizer.decode(expected.prompt),
            "keras": tokenizer.decode(expected.tokens),
            "file": tokenizer.decode(chosen),
        },
    }


def _compare_tensors(
    checks: Checks, writer: HubWriter, network: TransformerLM, folder: str, dtype: str
) -> None:
    """Compares the numbers in the files, read by the package safetensors, with the weights."""
    from safetensors import safe_open

    expected = {tensor.name: tensor for tensor in writer.tensors(network)}
    equal, stored = 0, 0
    for path in checkpoint_files(folder):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                stored += 1
                if name in expected:
                    numbers = file.get_tensor(name)
                    equal += np.array_equal(numbers, expected[name].read().astype(dtype))
    checks.add("tensors", stored, "==", len(expected))
    checks.add("tensors_equal", equal, "==", len(expected))


def _compare_tokenizer(
    checks: Checks, tokenizer: Tokenizer, folder: str, held_out: Sequence[int]
) -> None:
    """Compares the ids that the libraries give by the written files with those of the tokenizer.

    Files that came with a model may change a text before they cut it, such as to composed
    characters; of them the held-out text's ids are measured only.
    """
    text = tokenizer.decode([int(token) for token in held_out])
    paths = [os.path.join(folder, name) for name in (JSON_FILE, *MODEL_FILES)]
    path = next(filter(os.path.exists, paths), None)
    if path is None:
        return
    if path == paths[0]:
        theirs = import_tokenizers().Tokenizer.from_file(path)
        # The texts of special tokens are plain text here, as in `encode`.
        theirs.encode_special_tokens = True

        def ids(text: str) -> list[int]:
            return theirs.encode(text, add_special_tokens=False).ids
    else:
        import sentencepiece

        ids = sentencepiece.SentencePieceProcessor(model_file=path).encode
    plain = ids(_PLAIN_TEXT) == tokenizer.encode(_PLAIN_TEXT)
    checks.add("tokenizer_ids_equal (plain text)", int(plain), "==", 1)
    same = ids(text) == tokenizer.encode(text)
    checks.add("tokenizer_ids_equal", int(same), "==", None if tokenizer.given_files() else 1)


def _logits(backbone: keras.Model, ids: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Returns logits (T, V) of ids (T,), as keras-hub's CausalLM computes them."""
    tokens = np.asarray(ids, np.int32)[None]
    hidden = backbone({"token_ids": tokens, "padding_mask": np.ones_like(tokens)}, training=False)
    logits = backbone.token_embedding(hidden, reverse=True)
    return np.asarray(logits, np.float32)[0, :, :vocabulary_size]
