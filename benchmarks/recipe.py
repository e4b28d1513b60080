"""nanoGPT's recipe for a CPU (Karpathy 2022, README of github.com/karpathy/nanoGPT), which all
training follows here.

A character model: 4 layers, 4 heads, 128 wide, 64 tokens of context, batches of 12 windows, no
biases, no dropout, tied softmax, exact GELU, AdamW, gradients clipped at norm 1, 2,000 steps.
"""

from typing import Any

from tfscale.config import TrainConfig, TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS

STEPS = 2000
BATCH_SIZE = 12
SEQUENCE_LENGTH = 64
NUM_LAYERS = 4
NUM_HEADS = 4
HIDDEN_DIM = 128
STEPS_PER_CALL = 20
"""Steps of ours per call of the compiled loop: `LanguageModel.fit`'s default."""

NANOGPT: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "final_learning_rate_fraction": 0.1,
    "warmup_steps": 100,
    "weight_decay": 0.1,
    "beta_1": 0.9,
    "beta_2": 0.99,
    "clip_norm": 1.0,
}
"""nanoGPT's optimizer, in the words of `TrainConfig`."""

OURS: dict[str, Any] = {**NANOGPT, "learning_rate": 4e-3, "final_learning_rate_fraction": 0.0}
"""Settings that train this model better in the same steps: `quality` uses them for ours."""

TINYSHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
TINYSHAKESPEARE_LOSS = 1.905
"""Validation loss of the recipe on tinyshakespeare in PyTorch, nats per character over the whole
split."""


def model_config(vocabulary_size: int = 0) -> TransformerConfig:
    """The recipe's model; a vocabulary size of 0 takes the data's."""
    return TransformerConfig(
        vocabulary_size=vocabulary_size,
        sequence_length=SEQUENCE_LENGTH,
        hidden_dim=HIDDEN_DIM,
        num_layers=NUM_LAYERS,
        num_heads=NUM_HEADS,
        **GPT2_PARTS,
    )


def train_config(steps: int, optimizer: dict[str, Any], **options: Any) -> TrainConfig:
    """The recipe's training with `NANOGPT` or `OURS` as its optimizer."""
    return TrainConfig(
        steps=steps,
        global_batch_size=BATCH_SIZE,
        log_every=STEPS_PER_CALL,
        **{**optimizer, "warmup_steps": min(optimizer["warmup_steps"], steps // 2)},
        **options,
    )
