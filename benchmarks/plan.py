"""The plan's step time beside a measured one, on this machine.

python -m benchmarks.plan
"""

import dataclasses
import json

from rich.console import Console
from rich.table import Table

from benchmarks.rounds import measure
from tfscale.config import LSTMConfig, TrainConfig, TransformerConfig
from tfscale.planning import plan

WANTED = 0.3
MODELS = {
    "Transformer 4 x 128": (
        TransformerConfig(
            vocabulary_size=1000, sequence_length=128, hidden_dim=128, num_layers=4, num_heads=4
        ),
        16,
    ),
    "Transformer 4 x 256": (
        TransformerConfig(
            vocabulary_size=4000, sequence_length=128, hidden_dim=256, num_layers=4, num_heads=4
        ),
        16,
    ),
    "Transformer 4 x 512": (
        TransformerConfig(
            vocabulary_size=4000, sequence_length=128, hidden_dim=512, num_layers=4, num_heads=8
        ),
        8,
    ),
    "LSTM 2 x 256": (
        LSTMConfig(
            vocabulary_size=4000,
            sequence_length=64,
            embedding_dim=256,
            hidden_dim=256,
            num_layers=2,
        ),
        32,
    ),
}


def main() -> None:
    """Measures each model's step in a fresh process, plans it, and prints both."""
    table = Table(title="seconds of a step, chip cpu")
    for column in ("model", "planned", "measured", "planned / measured", f"within {WANTED:.0%}"):
        table.add_column(column)
    for name, (model, batch) in MODELS.items():
        words = json.dumps({"family": model.family, **dataclasses.asdict(model)})
        measured = measure("plan_side", words, "--batch", batch, "--steps", 10)["seconds"]
        # The measured step is AdamW's.
        train = TrainConfig(optimizer="adamw", global_batch_size=batch)
        planned = plan(model, train, chip="cpu").step_seconds
        ratio = planned / measured
        table.add_row(
            name,
            f"{planned:.4f}",
            f"{measured:.4f}",
            f"{ratio:.2f}",
            "ok" if abs(ratio - 1) < WANTED else "NO",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
