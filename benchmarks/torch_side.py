"""The recipe in PyTorch, as nanoGPT's training loop has it.

    python -m benchmarks.torch_side speed --data tokens.npz [--compile] --steps 100 --repeats 3
    python -m benchmarks.torch_side quality --data tokens.npz [--settings ours] --steps 2000

Batches are random windows of the token stream. AdamW is PyTorch's fused one, which is faster on a
CPU than the loop over weights that nanoGPT uses there.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from benchmarks import recipe
from benchmarks.torch_gpt import GPT


class Training:
    """A model, its optimizer and its batches; a call takes one step.

    Args:
        data: "train", "validation", "end_id" and "vocabulary_size", as `benchmarks.corpus` writes
            them.
        steps: of the schedule.
        settings: `recipe.NANOGPT` or `recipe.OURS`.
        compiled: use torch.compile.
        seed: of the weights and the batches.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        steps: int,
        settings: dict[str, Any] = recipe.NANOGPT,
        compiled: bool = False,
        seed: int = 1337,
    ):
        torch.manual_seed(seed)
        self.stream = np.asarray(data["train"])
        self.config = recipe.train_config(steps, settings).for_model(recipe.model_config())
        self.network = GPT(
            int(data["vocabulary_size"]),
            recipe.SEQUENCE_LENGTH,
            recipe.NUM_LAYERS,
            recipe.NUM_HEADS,
            recipe.HIDDEN_DIM,
        )
        betas = (self.config.beta_1, self.config.beta_2)
        self.optimizer = self.network.optimizer(
            self.config.learning_rate, self.config.weight_decay, betas, fused=True
        )
        self.model = torch.compile(self.network) if compiled else self.network
        self.step = 0
        self.next_batch = self.batch()

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Random windows: inputs and targets, each (B, T)."""
        length = recipe.SEQUENCE_LENGTH
        starts = torch.randint(len(self.stream) - length, (recipe.BATCH_SIZE,))
        windows = [self.stream[i : i + length + 1].astype(np.int64) for i in starts]
        inputs = torch.stack([torch.from_numpy(window[:-1]) for window in windows])
        return inputs, torch.stack([torch.from_numpy(window[1:]) for window in windows])

    def learning_rate(self) -> float:
        """nanoGPT's schedule: linear warm-up, then half a cosine."""
        config = self.config
        if self.step < config.warmup_steps:
            return config.learning_rate * (self.step + 1) / (config.warmup_steps + 1)
        final = config.learning_rate * config.final_learning_rate_fraction
        done = (self.step - config.warmup_steps) / (config.steps - config.warmup_steps)
        return final + 0.5 * (1 + math.cos(math.pi * min(done, 1))) * (config.learning_rate - final)

    def __call__(self) -> torch.Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        _, loss = self.model(*self.next_batch)
        self.next_batch = self.batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()


@torch.no_grad()
def stream_loss(network: GPT, stream: np.ndarray, end_id: int, rows: int = 32) -> float:
    """Nats per token over a whole stream, in windows that do not overlap, the end token before the
    first.

    Args:
        network: the model.
        stream: tokens (N,).
        end_id: the token that is thought to stand before the first.
        rows: windows of a batch.
    """
    length = recipe.SEQUENCE_LENGTH
    targets = stream.astype(np.int64)
    inputs = np.concatenate([[end_id], targets[:-1]])
    whole = len(targets) // length * length
    parts = [
        (inputs[i:j].reshape(-1, length), targets[i:j].reshape(-1, length))
        for i in range(0, whole, rows * length)
        for j in [min(i + rows * length, whole)]
    ]
    if whole < len(targets):
        parts.append((inputs[None, whole:], targets[None, whole:]))
    total = 0.0
    for ids, wanted in parts:
        _, loss = network(torch.from_numpy(ids), torch.from_numpy(wanted))
        assert loss is not None
        total += float(loss) * wanted.size
    return total / len(targets)


def speed(data: Mapping[str, Any], steps: int, repeats: int, compiled: bool) -> dict[str, float]:
    """Tokens per second of the best of `repeats` times `steps`, after as many steps that are not
    timed."""
    train = Training(data, steps * (repeats + 1), compiled=compiled)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        for _ in range(steps):
            loss = train()
        loss.item()
        seconds.append(time.perf_counter() - began)
    tokens = steps * recipe.BATCH_SIZE * recipe.SEQUENCE_LENGTH
    return {"tokens_per_second": tokens / min(seconds[1:]), "first_seconds": seconds[0]}


def quality(
    data: Mapping[str, Any], steps: int, settings: dict[str, Any], seed: int
) -> dict[str, float]:
    """Validation loss in nats per token after `steps`, their seconds, and when they ended, in
    seconds since the epoch."""
    train = Training(data, steps, settings, seed=seed)
    began = time.perf_counter()
    for _ in range(steps):
        train()
    seconds, ended = time.perf_counter() - began, time.time()
    loss = stream_loss(train.network, data["validation"], int(data["end_id"]))
    return {"loss": loss, "seconds": seconds, "ended": ended}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("speed", "quality"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--settings", choices=("nanogpt", "ours"), default="nanogpt")
    options = parser.parse_args()
    if hasattr(os, "sched_getaffinity"):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    data = np.load(options.data)
    if options.task == "speed":
        result = speed(data, options.steps, options.repeats, options.compile)
    else:
        result = quality(
            data,
            options.steps,
            recipe.OURS if options.settings == "ours" else recipe.NANOGPT,
            options.seed,
        )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
