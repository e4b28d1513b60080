"""Lowers the steps of a config to XLA's programs, and finds what a TPU cannot compile."""

import os
import re
from dataclasses import dataclass

import tensorflow as tf

from tfscale import models
from tfscale.compat.tensorflow_products import onednn_products
from tfscale.config import NetworkConfig, TrainConfig
from tfscale.config.train import DEFAULT_STEPS
from tfscale.errors import ConfigError
from tfscale.models.blockwise_rule import for_another_machine
from tfscale.models.documents import documents_of
from tfscale.training.language_model import LanguageModel
from tfscale.training.optimizers import build_optimizer
from tfscale.training.validation import EvaluationStep

_DYNAMIC = re.compile(r"tensor<[^>]*\?|bounds<|set_dimension_size|dynamic_reshape|real_dynamic")
_CUSTOM_CALL = re.compile(r"custom_call\s*@(\w+)|custom_call_target\s*=\s*\"([^\"]+)\"")
_FLOAT64 = re.compile(r"stablehlo\.(\w+)[^\n]*tensor<[^>]*f64>")


@dataclass(frozen=True)
class Findings:
    """Operations that a program should not have: with dynamic shapes, in float64, custom calls."""

    dynamic: tuple[str, ...]
    float64: tuple[str, ...]
    custom_calls: tuple[str, ...]


@dataclass(frozen=True)
class Lowered:
    """A step as a serialized HLO module, with the bytes of weights and of the rest of the state
    that it updates."""

    name: str
    hlo: bytes
    findings: Findings
    weight_bytes: int
    state_bytes: int


def lower_steps(model: NetworkConfig, train: TrainConfig, chips: int) -> list[Lowered]:
    """Lowers the training and the evaluation step of a config for one chip of several.

    Args:
        model: the architecture, with its vocabulary size.
        train: batch, precision and so on.
        chips: chips that share each batch.

    Returns:
        The steps "train" and "evaluation".

    Raises:
        ConfigError: a step cannot be compiled at all, for example because it handles strings.
    """
    rows = train.global_batch_size // chips
    network = models.build_network(model, train.precision, train.seed)
    language_model = LanguageModel(network)
    # Which token it is does not change the program.
    options = train.compile_options(xla=True, document_start=0, document_end=0)
    if train.epochs is not None:
        # Without data nobody knows how many steps these are, and the program of a step is the same.
        train = train.of_steps(DEFAULT_STEPS)
    language_model.compile(build_optimizer(train.for_model(model), network), **vars(options))
    step = language_model.train_step_runner
    assert step is not None
    ids = tf.zeros((rows, model.sequence_length), tf.int32)
    micro_batch = tf.zeros((rows // train.micro_batches, model.sequence_length), tf.int32)
    documents = documents_of(options, options.document_start, options.document_end)
    evaluation = EvaluationStep(
        network, language_model.strategy, True, train.loss_chunk_tokens, documents=documents
    )
    weight_bytes = sum(variable.numpy().nbytes for variable in step.variables)
    state_bytes = sum(variable.numpy().nbytes for variable in step.state().values())
    # The compiler's entry takes no default arguments, so each step gets a front that has none.
    fronts = {
        "train": (lambda ids, targets: step.gradients_and_update(ids, targets), ids),
        "evaluation": (lambda ids, targets: evaluation.replica_sums(ids, targets), micro_batch),
    }
    return [
        lower(name, tf.function(front, jit_compile=True), (batch, batch), weight_bytes, state_bytes)
        for name, (front, batch) in fronts.items()
    ]


def lower(
    name: str,
    function: tf.types.experimental.GenericFunction,
    arguments: tuple,
    weight_bytes: int,
    state_bytes: int,
) -> Lowered:
    """Lowers one function that XLA compiles.

    Raises:
        ConfigError: it holds an operation that XLA has no kernel for; the message names it.
    """
    try:
        with onednn_products(wanted=False), for_another_machine():
            representation = function.experimental_get_compiler_ir(*arguments)
            text = representation(stage="stablehlo")
            hlo = representation(stage="hlo_serialized")
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError, ValueError) as error:
        operations = sorted(
            set(re.findall(r"(?:unsupported operations[^:]*:|Op type )\s*'?(\w+)", str(error)))
        )
        what = ", ".join(operations) or str(error).splitlines()[0][:200]
        raise ConfigError(
            f"the {name} step cannot be compiled for a TPU: it uses {what}. Strings and Python"
            " belong into the input pipeline, not into the step"
        ) from error
    return Lowered(name, hlo, find(text), weight_bytes, state_bytes)


def find(stablehlo: str) -> Findings:
    """Looks through a program's text."""
    dynamic = set()
    for line in stablehlo.splitlines():
        if _DYNAMIC.search(line):
            match = re.search(r"(?:stablehlo|chlo|mhlo)\.(\w+)", line)
            dynamic.add(match[1] if match else "argument")
    calls = {first or second for first, second in _CUSTOM_CALL.findall(stablehlo)}
    return Findings(
        tuple(sorted(dynamic)),
        tuple(sorted(set(_FLOAT64.findall(stablehlo)))),
        tuple(sorted(calls)),
    )


def write(steps: list[Lowered], folder: str) -> list[str]:
    """Writes each step's module into a folder; returns the paths."""
    paths = [os.path.join(folder, f"{step.name}.hlo.pb") for step in steps]
    for step, path in zip(steps, paths, strict=True):
        with open(path, "wb") as file:
            file.write(step.hlo)
    return paths
