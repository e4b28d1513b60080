"""The plan: memory per device, communication and time per step, and what makes it fit where it does
not.

tfscale trains data-parallel: every device holds the whole model, and after the backward pass the
gradients go through one ring all-reduce, so that communication is not hidden behind computation.
"""

import dataclasses
import difflib
import itertools
from dataclasses import dataclass

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.config.costs import Costs
from tfscale.config.options import checks_arguments
from tfscale.errors import ConfigError, check_range
from tfscale.files.json_text import JsonObject
from tfscale.planning.chips import CHIPS, Chip, measure_cpu
from tfscale.registry import OPTIMIZERS

RESERVE = 0.1
"""Share of the memory for the runtime, for fragmentation and for what this count does not have."""
_ESTIMATED = "; the costs of the family {} are estimated from its number of weights"
TOKENS_PER_PARAMETER = 20
"""Compute-optimal token budget (Hoffmann et al. 2022)."""
HEAD_FLOATS = 2
"""float32 values per logit that live at the same time: the logits and their gradient."""
TRAFFIC_PASSES = 3
"""Number of times that activations move through memory: written forward, read backward, and once
more for their gradients."""


@dataclass(frozen=True)
class Memory:
    """Bytes on each device."""

    weights: float
    gradients: float
    optimizer: float
    averages: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """The sum."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True)
class Scaling:
    """A number of devices: seconds of a step, tokens per second, efficiency against one device with
    the same share."""

    devices: int
    step_seconds: float
    tokens_per_second: float
    efficiency: float


@dataclass(frozen=True)
class Plan:
    """The needs of a training; sizes in bytes, rates per second."""

    chip: str
    devices: int
    parameters: int
    forward_flops_per_token: float
    training_flops_per_token: float
    memory: Memory
    memory_per_device: float
    fits: bool
    advice: str
    all_reduce_bytes: float
    compute_seconds: float
    communication_seconds: float
    step_seconds: float
    scaling_efficiency: float
    tokens_per_second: float
    token_budget: float
    hours: float
    device_hours: float
    scaling: tuple[Scaling, ...]
    source: str

    def to_dict(self) -> dict[str, object]:
        """Returns the plan as plain values."""
        return dataclasses.asdict(self)


@checks_arguments
def plan(
    model: NetworkConfig,
    train: TrainConfig,
    *,
    devices: int = 1,
    chip: str | Chip = "cpu",
    tokens: float | None = None,
    utilization: float | None = None,
) -> Plan:
    """Plans a training on paper.

    Args:
        model: the architecture, with its vocabulary size.
        train: batch, precision, micro-batches and so on.
        devices: replicas of the training.
        chip: a name in `CHIPS`, or "cpu", which is measured now.
        tokens: token budget; by default 20 per parameter.
        utilization: share of the chip's peak that its matrix products reach; by default the chip's.

    Raises:
        ConfigError: an unknown chip, a number out of range, no vocabulary size, or a batch that
            cannot be cut over the devices.

    Example:
        plan(TransformerConfig(vocabulary_size=50257), TrainConfig(), devices=64, chip="h100").hours
    """
    if model.vocabulary_size < 1:
        raise ConfigError("the plan needs a vocabulary size: give --model.vocabulary_size N")
    if devices < 1:
        raise ConfigError(f"devices={devices} is out of range; expected 1 or more")
    if utilization is not None:
        expected = "a share of the peak above 0 and at most 1"
        check_range(0 < utilization <= 1, "utilization", utilization, expected)
    if tokens is not None:
        check_range(tokens > 0, "tokens", tokens, "more than 0")
    unit = devices * train.micro_batches
    if train.global_batch_size % unit:
        nearest = max(1, round(train.global_batch_size / unit)) * unit
        raise ConfigError(
            f"train.global_batch_size={train.global_batch_size} is not divisible by devices x"
            f" micro_batches = {devices} x {train.micro_batches} = {unit}; {nearest} would be"
        )
    costs = model.costs()
    rows = train.global_batch_size // unit
    device = chip if isinstance(chip, Chip) else _chip(chip, model, rows)
    if utilization is not None:
        device = dataclasses.replace(device, utilization=utilization)
    memory = memory_of(costs, model, train, devices)
    space = device.memory * (1 - RESERVE)
    fits = memory.total <= space
    step_tokens = train.global_batch_size * model.sequence_length
    compute, communication = _seconds(costs, model, train, device, devices)
    budget = tokens or TOKENS_PER_PARAMETER * costs.parameters
    rate = step_tokens / (compute + communication)
    hours = budget / rate / 3600
    recomputed = 1 if train.remat else 0
    return Plan(
        chip=device.name,
        devices=devices,
        parameters=costs.parameters,
        forward_flops_per_token=costs.forward_flops,
        training_flops_per_token=costs.forward_flops * (3 + recomputed),
        memory=memory,
        memory_per_device=device.memory,
        fits=fits,
        advice="it fits as it is" if fits else _advice(costs, model, train, devices, space),
        all_reduce_bytes=_all_reduce_bytes(costs, devices),
        compute_seconds=compute,
        communication_seconds=communication,
        step_seconds=compute + communication,
        scaling_efficiency=compute / (compute + communication),
        tokens_per_second=rate,
        token_budget=budget,
        hours=hours,
        device_hours=hours * devices,
        scaling=_scaling(costs, model, train, device, devices),
        source=device.source + (_ESTIMATED.format(model.family) if costs.estimated else ""),
    )


def memory_of(costs: Costs, model: NetworkConfig, train: TrainConfig, devices: int) -> Memory:
    """Returns bytes on each device of a data-parallel training."""
    mixed = train.precision != "float32"
    value = 2 if mixed else 4
    tokens = train.global_batch_size // (devices * train.micro_batches) * model.sequence_length
    block, wide = costs.block_values * value, 4 + (2 if mixed else 0)
    if train.remat:  # One block at a time is whole.
        largest = costs.largest_float32 or costs.block_float32
        layers = costs.layers * costs.kept_values * value + block + largest * wide
    else:
        layers = costs.layers * (block + costs.block_float32 * wide)
    chunk = train.loss_chunk_tokens or tokens
    train = train.for_model(model, by_entries=train.strategy == "parameter_server")
    weights, spec = 4.0 * costs.parameters, OPTIMIZERS.get(train.optimizer)
    return Memory(
        # Mixed precision casts each weight for the forward pass.
        weights=weights + (2.0 * costs.parameters if mixed else 0),
        # The sum over the micro-batches is held beside the gradients of one.
        gradients=weights * (2 if train.micro_batches > 1 else 1),
        optimizer=4.0 * spec.state_values(model, spec.options_of(vars(train))),
        averages=weights if train.ema_decay else 0.0,
        activations=tokens * (layers + costs.edge_values * value),
        logits=min(chunk, tokens)
        * costs.vocabulary_size
        * (HEAD_FLOATS * 4.0 + (2 if mixed else 0)),
    )


def _chip(name: str, model: NetworkConfig, rows: int) -> Chip:
    if name == "cpu":
        return measure_cpu(model, rows, model.sequence_length)
    if name not in CHIPS:
        near = difflib.get_close_matches(name, [*CHIPS, "cpu"], n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join([*CHIPS, 'cpu'])}"
        raise ConfigError(f"unknown chip {name!r}; {hint}")
    return CHIPS[name]


def _seconds(
    costs: Costs, model: NetworkConfig, train: TrainConfig, chip: Chip, devices: int
) -> tuple[float, float]:
    """Computation and communication of a step."""
    tokens = train.global_batch_size // devices * model.sequence_length
    flops = costs.forward_flops * (4 if train.remat else 3) * tokens
    peak = chip.peak_float32 if train.precision == "float32" else chip.peak
    # What is not a matrix product is bound by memory: activations, logits, and the optimizer's pass
    # over its state. What is held at once is less with remat and chunks; what is made, and so
    # moved, is not.
    memory = memory_of(
        costs, model, dataclasses.replace(train, remat=False, loss_chunk_tokens=0), devices
    )
    passes = TRAFFIC_PASSES + (1 if train.remat else 0)
    moved = train.micro_batches * (passes * memory.activations + TRAFFIC_PASSES * memory.logits)
    moved += 2 * (memory.weights + memory.optimizer + memory.averages) + memory.gradients
    compute = flops / (peak * chip.utilization) + moved / chip.bandwidth
    if devices == 1:
        return compute, 0.0
    # Between nodes all adapters of a node carry the ring together.
    links = (
        chip.local_links
        if devices <= chip.node
        else min(chip.local_links, chip.network * chip.node)
    )
    return compute, _all_reduce_bytes(costs, devices) / links


def _all_reduce_bytes(costs: Costs, devices: int) -> float:
    """Returns bytes that each device sends in a ring all-reduce of float32 gradients (Patarasuk and
    Yuan 2009)."""
    return 2 * (devices - 1) / devices * 4.0 * costs.parameters


def _scaling(
    costs: Costs, model: NetworkConfig, train: TrainConfig, chip: Chip, devices: int
) -> tuple[Scaling, ...]:
    """1, 2, 4, ... devices, each with the share of the batch that a device has in the plan."""
    share = train.global_batch_size // devices
    counts = sorted({*(2**i for i in range(devices.bit_length()) if 2**i <= devices), devices})
    result = []
    for count in counts:
        scaled = dataclasses.replace(train, global_batch_size=share * count)
        compute, communication = _seconds(costs, model, scaled, chip, count)
        seconds = compute + communication
        rate = share * count * model.sequence_length / seconds
        result.append(Scaling(count, seconds, rate, compute / seconds))
    return tuple(result)


def _advice(
    costs: Costs, model: NetworkConfig, train: TrainConfig, devices: int, space: float
) -> str:
    """Tries the memory options, the cheapest first, and says which make it fit."""
    rows = train.global_batch_size // devices
    micros = [m for m in range(train.micro_batches, rows + 1) if rows % m == 0]
    chunked = {"loss_chunk_tokens": 1024}
    options: list[JsonObject] = [{}, chunked, {"remat": True}, {"remat": True, **chunked}]
    precisions = [train.precision] + (["mixed_bfloat16"] if train.precision == "float32" else [])
    for precision, extra, micro in itertools.product(precisions, options, micros):
        changed = {**extra, "micro_batches": micro, "precision": precision}
        tried = dataclasses.replace(train, **changed)
        memory = memory_of(costs, model, tried, devices)
        if memory.total <= space:
            new = {name: value for name, value in changed.items() if value != getattr(train, name)}
            words = " ".join(f"--train.{name} {str(value).lower()}" for name, value in new.items())
            return f"{words} makes it fit ({memory.total / 1e9:.1f} of {space / 1e9:.1f} GB)"
    return (
        f"no memory option makes it fit: the smallest is {memory.total / 1e9:.1f} GB, and"
        f" {space / 1e9:.1f} GB are there. It needs a model cut over devices, which tfscale does"
        " not do"
    )
