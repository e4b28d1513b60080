"""Makes files-VERSION.tar.xz of tests/compatibility with the tfscale that is importable.

Run it at the commit whose files shall stay readable: `python tests/compatibility/make_files.py VERSION`.
"""

import glob
import json
import os
import shutil
import sys
import tarfile
import tempfile

import keras
import numpy as np

import tfscale
from tfscale import cli

WORDS = "cat dog bird house river garden winter letter king window".split()
PREPARE = (
    "prepare --text text.txt --documents paragraph --processes 1 --test-fraction 0.1 "
    "--tokenizer {} --vocabulary-size {} --output data-{}"
)
TRAIN = (
    "train --model.family {} --data data-{} --output {} --model.hidden_dim 16 --model.num_layers 1 "
    "--model.sequence_length 16 --train.global_batch_size 4 --train.warmup_steps 4 "
    "--train.learning_rate 0.01 --train.strategy single --train.log_every 5 "
)
EMBEDDING = "--model.embedding_dim {} --train.steps 10 "
EXPORT = "export {} --output {} --parity-tokens 64 --prefill-lengths 8 "
RUNS = {
    "transformer": "data-sentencepiece",
    "lstm-stateful": "data-byte",
    "averaged": "data-byte",
    "bilstm": "data-word",
    "ngram": "data-word",
    "transformer-int8": "data-sentencepiece",
    "lstm-float": "data-byte",
    "ngram-export": "data-word",
}


def command(words: str) -> None:
    """Runs a command of tfscale."""
    if code := cli.main(words.split()):
        raise SystemExit(code)


def write_text() -> None:
    """Writes a text of 240 paragraphs, and labelled examples."""
    lines = [
        f"Chapter {n}. The {WORDS[n % 10]} of {WORDS[n * 7 % 10]} {n % 5} saw {n % 3} "
        f"{WORDS[n * 3 % 10]}s, and slept — naïve."
        for n in range(240)
    ]
    with open("text.txt", "w", encoding="utf-8") as file:
        file.write("\n\n".join(lines) + "\n")
    rows = [{"text": "a fine day", "label": "good"}, {"text": "a grim day", "label": "bad"}] * 6
    with open("labels-test.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def make_folders() -> None:
    """Makes data folders, runs, a task and exports by the command line."""
    for kind, size in (("byte", 257), ("sentencepiece", 300), ("word", 40)):
        command(PREPARE.format(kind, size, kind))
    transformer = TRAIN.format("transformer", "sentencepiece", "transformer")
    command(
        transformer
        + "--model.num_heads 2 --train.steps 20 --train.checkpoint_every 10 --train.validate_every 10"
    )
    lstm = TRAIN.format("lstm", "byte", "lstm-stateful") + EMBEDDING.format(16)
    command(lstm + "--model.stateful true")
    command(TRAIN.format("gru", "byte", "averaged") + EMBEDDING.format(8) + "--train.ema_decay 0.5")
    command(TRAIN.format("bilstm", "word", "bilstm") + EMBEDDING.format(8))
    command("train --data data-word --output ngram --model.family ngram --model.order 3")
    command(
        "finetune transformer --task classify --train labels-test.jsonl --test labels-test.jsonl "
        "--validation labels-test.jsonl --output task --epochs 2 --global-batch-size 4"
    )
    command(EXPORT.format("transformer", "transformer-int8") + "--quantize int8")
    command(EXPORT.format("lstm-stateful", "lstm-float"))
    command("export ngram --output ngram-export --format ngram")
    command("export task --output task-export")


def save_by_keras() -> dict[str, float]:
    """Saves a fitted LanguageModel as .keras and as weights; returns its scores."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(16, 4),
            keras.layers.LSTM(4, return_sequences=True),
            keras.layers.Dense(16),
        ]
    )
    model = tfscale.LanguageModel(network)
    model.compile(keras.optimizers.Adam(0.1))
    ids = np.random.default_rng(0).integers(0, 16, (12, 7)).astype("int32")
    model.fit(ids[:, :-1], ids[:, 1:], batch_size=4, epochs=2, verbose=0, shuffle=False)
    model.save("fitted.keras")
    model.save_weights("fitted.weights.h5")
    np.save("fitted-ids.npy", ids)
    return model.evaluate(ids[:, :-1], ids[:, 1:])


def describe() -> dict[str, dict]:
    """What this version computes of each folder."""
    expected: dict[str, dict] = {}
    for name, data in RUNS.items():
        expected[name] = {"evaluate": tfscale.evaluate(name, data=data, split="test")}
        if name != "bilstm":
            text = tfscale.generate(name, prompt="Chapter 1", max_tokens=12).text
            expected[name]["generate"] = text
    for name in ("task", "task-export"):
        expected[name] = {
            "predict": tfscale.predict(name, text="a fine day"),
            "evaluate": tfscale.evaluate(name, text=["labels-test.jsonl"]),
        }
    fillings = tfscale.fill("bilstm", text="The ___ of house", count=3)
    expected["bilstm"]["fill"] = [[filling.text, filling.probability] for filling in fillings]
    return expected


def stop_a_copy() -> None:
    """Copies the Transformer's run as it was at step 10, and removes what no test reads."""
    shutil.copytree("transformer", "transformer-stopped")
    for name in ("summary.json", "model.keras", "checkpoints/step-00000020.npz"):
        os.remove(f"transformer-stopped/{name}")
    for path in glob.glob("*/checkpoints/step-*") + glob.glob("*/*.html"):
        if not path.startswith("transformer-stopped"):
            os.remove(path)
    for path in glob.glob("*/tensorboard"):
        shutil.rmtree(path)
    for path in glob.glob("*/config.yaml"):
        with open(path, encoding="utf-8") as file:
            text = file.read().replace(f"{os.getcwd()}/", "")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def main(version: str) -> None:
    archive = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"files-{version}.tar.xz")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_text()
        make_folders()
        fitted = save_by_keras()
        expected = describe() | {"fitted": fitted}
        stop_a_copy()
        with open("expected.json", "w", encoding="utf-8") as file:
            json.dump(expected, file, indent=1, default=float)
        with tarfile.open(archive, "w:xz") as file:
            file.add(".", filter=_anonymous)


if __name__ == "__main__":
    main(sys.argv[1])
