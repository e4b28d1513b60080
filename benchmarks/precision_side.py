"""One train step in float32 or bfloat16, as tfscale and PyTorch take it, with AdamW and clipping.

    python -m benchmarks.precision_side tfscale wide --precision mixed_bfloat16 [--xla on]
    python -m benchmarks.precision_side torch wide --precision mixed_bfloat16 [--compile]

Shapes: `wide` (4 layers of 512), `gpt2` (GPT-2 small), `nanogpt` (the recipe), on random tokens.
PyTorch's bfloat16 is `torch.autocast`, its AdamW the fused one. Prints the best tokens per second
of the repeats, by the clock and by the processor's time of all cores.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.rounds import best_rates

RATE, DECAY, BETAS, CLIP = 1e-3, 0.1, (0.9, 0.99), 1.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a model and of a batch."""

    layers: int
    heads: int
    width: int
    vocabulary_size: int
    length: int
    rows: int
    steps: int

    def batches(self) -> np.ndarray:
        """Tokens (steps, rows, length + 1)."""
        size = (self.steps, self.rows, self.length + 1)
        return np.random.default_rng(0).integers(0, self.vocabulary_size, size).astype("int32")


SHAPES = {
    "wide": Shape(4, 8, 512, 4096, 128, 8, steps=8),
    "gpt2": Shape(12, 12, 768, 50257, 256, 2, steps=2),
    "nanogpt": Shape(4, 4, 128, 65, 64, 12, steps=40),
}


def ours(shape: Shape, precision: str, xla: str) -> Callable[[], None]:
    """`LanguageModel`'s own step, many to a call, compiled as a run would compile it."""
    import tensorflow as tf

    from tfscale.config import TrainConfig, TransformerConfig
    from tfscale.config.gpt2_parts import GPT2_PARTS
    from tfscale.models import build_network
    from tfscale.training.language_model import LanguageModel
    from tfscale.training.optimizers import build_optimizer
    from tfscale.training.xla import chosen_way

    config = TransformerConfig(
        vocabulary_size=shape.vocabulary_size,
        sequence_length=shape.length,
        hidden_dim=shape.width,
        num_layers=shape.layers,
        num_heads=shape.heads,
        **GPT2_PARTS,
    )
    training = TrainConfig(
        optimizer="adamw",
        global_batch_size=shape.rows,
        precision=precision,
        xla=xla,
        learning_rate=RATE,
        weight_decay=DECAY,
        beta_1=BETAS[0],
        beta_2=BETAS[1],
    )
    network = build_network(config, precision)
    model = LanguageModel(network)
    way = chosen_way(training, config, 1)
    model.compile(build_optimizer(training, network), clip_norm=CLIP, xla=way.xla)
    data = shape.batches()
    dataset = tf.data.Dataset.from_tensor_slices((data[:, :, :-1], data[:, :, 1:])).repeat()
    iterator, step = iter(dataset), model.train_step_runner
    assert step is not None
    return lambda: step.run(iterator, shape.steps) and None


def torch_step(shape: Shape, precision: str, compiled: bool) -> Callable[[], None]:
    """The model of `benchmarks.torch_gpt`, under autocast in bfloat16."""
    import torch

    from benchmarks.torch_gpt import GPT

    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = GPT(shape.vocabulary_size, shape.length, shape.layers, shape.heads, shape.width)
    optimizer = network.optimizer(RATE, DECAY, BETAS, fused=True)
    model = torch.compile(network) if compiled else network
    data = torch.from_numpy(shape.batches().astype("int64"))
    lower = precision == "mixed_bfloat16"

    def run() -> None:
        for batch in data:
            with torch.autocast("cpu", torch.bfloat16, enabled=lower):
                _, loss = model(batch[:, :-1], batch[:, 1:])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def main() -> None:
    """Times one side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("side", choices=("tfscale", "torch"))
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--xla", choices=("auto", "on", "off"), default="auto", help="of tfscale")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    if options.side == "tfscale":
        run = ours(shape, options.precision, options.xla)
    else:
        run = torch_step(shape, options.precision, options.compile)
    a_step = shape.rows * shape.length
    rates = best_rates(run, options.repeats, shape.steps * a_step)
    result = {**rates, "cpu_ms_a_step": 1000 * a_step / rates["tokens_per_cpu_second"]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
