"""Guesses for unknown options: a slip of the fingers, a section left out, another tool's word."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable

from tfscale.registry import FAMILIES

OTHER_WORDS = {
    "learning_rate": ("lr",),
    "global_batch_size": ("batch_size", "batch", "bs"),
    "weight_decay": ("wd", "decay"),
    "optimizer": ("optim", "optimizer_name"),
    "precision": ("dtype", "fp16", "bf16", "mixed_precision"),
    "hidden_dim": ("units", "hidden_size", "width", "d_model", "n_embd", "dim"),
    "num_layers": ("layers", "n_layer", "n_layers", "depth"),
    "num_heads": ("heads", "n_head", "n_heads"),
    "sequence_length": (
        "seq_len",
        "seq_length",
        "context",
        "context_length",
        "block_size",
        "max_length",
    ),
    "vocabulary_size": ("vocab_size", "vocab"),
    "max_tokens": ("max_new_tokens", "length"),
    "clip_norm": ("grad_clip", "clipnorm", "max_grad_norm"),
}
"""Option -> what other tools call it."""
NO_OPTION = {
    "device": (
        "strategy",
        (
            "{strategy} says where to train, and the environment variable CUDA_VISIBLE_DEVICES"
            " which GPUs there are"
        ),
    ),
    "gpus": (
        "strategy",
        (
            "{strategy} says where to train, and the environment variable CUDA_VISIBLE_DEVICES"
            " which GPUs there are"
        ),
    ),
}
"""Another tool's option that has no counterpart -> an option that tells such a command, and what to
say there."""


def shown(key: str) -> str:
    """Returns an option as the help shows it: with hyphens, except in keys of a section."""
    return "--" + (key if "." in key else key.replace("_", "-"))


def unknown_option(name: str, known: Iterable[str]) -> str:
    """Returns the message for an unknown option, with the known one that was probably meant."""
    known, key = list(known), name.lstrip("-").replace("-", "_")
    return (
        "unknown option"
        f" {name}{other_family(key) or _no_option(key, known) or closest(key, known, shown)}"
    )


def other_family(key: str) -> str:
    """Returns "; it belongs to --model.family X" for an option of other families' models."""
    section, _, name = key.partition(".")
    fields = {
        config.family: [field.name for field in dataclasses.fields(config)] for config in FAMILIES
    }
    families = [family for family, names in fields.items() if name in names]
    return (
        f"; it belongs to --model.family {' or '.join(families)}"
        if section == "model" and families
        else ""
    )


def _no_option(key: str, known: list[str]) -> str:
    """Returns the end of the message for an option of other tools that has no counterpart here."""
    tails = {option.rpartition(".")[2]: shown(option) for option in known}
    needed, text = NO_OPTION.get(key.rpartition(".")[2], ("", ""))
    return f"; {text.format(**tails)}" if needed in tails else ""


def closest(key: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """Returns "; did you mean X?" for the known name that is closest to `key`, or nothing."""
    options = list(known)
    section, _, name = key.rpartition(".")
    means = {word: ours for ours, words in OTHER_WORDS.items() for word in words}.get(name)
    tails = {option: option.rpartition(".")[2] for option in options}
    # A section left out ("--steps" for "--train.steps") is as common as a slip of the fingers.
    near = [option for option, tail in tails.items() if tail in (name, means)]
    near = near or [option for option in options if option.startswith(key)]
    # Within a section the names are compared without it, or any two would be alike.
    in_section = {tail: option for option, tail in tails.items() if option == f"{section}.{tail}"}
    if not near and in_section:
        near = [
            in_section[tail]
            for tail in difflib.get_close_matches(name, in_section, n=1, cutoff=0.6)
        ]
    elif not near:
        near = difflib.get_close_matches(key, options, n=1, cutoff=0.5)
    return f"; did you mean {show(near[0])}?" if near else ""
