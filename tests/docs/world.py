"""The files and names that the pages' Python speaks of, small: texts, runs, exported files, networks."""

import contextlib
import io
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tfscale

ROOT = Path(__file__).resolve().parents[2]
VOCABULARY = 400
TINY = {"vocabulary_size": VOCABULARY, "sequence_length": 32, "hidden_dim": 16}
ENTITIES = "\n\n".join(
    f"{name} B-PER\nleft O\n{city} B-LOC\n"
    for name in ("Ann", "Bob", "Cleo", "Dan")
    for city in ("Paris", "Rome", "Oslo", "Lima")
)
OPINIONS = "text,label\n" + "".join(
    f"a {word} film,{label}\n"
    for label, words in (
        ("good", "fine warm lovely bright gentle happy kind great"),
        ("bad", "dull cold grim dark tired sad weak poor"),
    )
    for word in words.split()
)


class World:
    """A folder in which each file is made when the first page needs it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def give(self, names: tuple[str, ...], target: Path) -> None:
        """Copies files and folders into the working folder of a page."""
        for name in names:
            source = self.made(name)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target / name)

    def made(self, name: str) -> Path:
        """Makes a file or folder, once."""
        path = self.folder / name
        if not path.exists():
            with contextlib.redirect_stderr(io.StringIO()):
                getattr(self, f"make_{name.replace('-', '_').replace('.', '_')}")(path)
        return path

    def make_book_txt(self, path: Path) -> None:
        path.write_text((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), encoding="utf-8")

    def make_train_conll(self, path: Path) -> None:
        path.write_text(ENTITIES, encoding="utf-8")

    def make_train_csv(self, path: Path) -> None:
        path.write_text(OPINIONS, encoding="utf-8")

    def make_questions_jsonl(self, path: Path) -> None:
        question = '{"context": "The sky is", "choices": ["blue", "a ship"], "label": 0}\n'
        path.write_text(question * 2, encoding="utf-8")

    def make_data(self, path: Path) -> None:
        tfscale.prepare(
            text=[str(self.made("book.txt"))],
            documents="paragraph",
            vocabulary_size=VOCABULARY,
            processes=1,
            output=str(path),
            progress=False,
        )

    def _train(self, config: tfscale.NetworkConfig, path: Path) -> None:
        options = tfscale.TrainConfig(steps=2, global_batch_size=4, strategy="single", xla="off")
        tfscale.train(
            config, options, data=str(self.made("data")), output=str(path), progress=False
        )

    def make_run(self, path: Path) -> None:
        self._train(tfscale.TransformerConfig(**TINY, num_layers=1, num_heads=2), path)

    def make_bilstm(self, path: Path) -> None:
        self._train(tfscale.BiLSTMConfig(**TINY, embedding_dim=16), path)

    def make_task(self, path: Path) -> None:
        tfscale.finetune(
            str(self.made("run")),
            tfscale.TaskConfig(
                task="classify",
                train=[str(self.made("train.csv"))],
                output=str(path),
                epochs=1,
                freeze=True,
                strategy="single",
            ),
        )

    def _export(self, source: str, path: Path) -> None:
        recipe = "none" if source == "bilstm" else "int8"
        options = {} if source == "task" else {"parity_tokens": 64}
        tfscale.export(str(self.made(source)), output=str(path), quantize=recipe, **options)

    def make_export(self, path: Path) -> None:
        self._export("run", path)

    def make_task_export(self, path: Path) -> None:
        self._export("task", path)

    def make_bilstm_export(self, path: Path) -> None:
        self._export("bilstm", path)


def small_network() -> keras.Model:
    """Returns a language model of a reader's own: ids (B, T) to logits (B, T, V)."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(50, 8),
            keras.layers.LSTM(8, return_sequences=True),
            keras.layers.Dense(50),
        ]
    )


def family_network() -> tfscale.LanguageNetwork:
    """Returns a small Transformer of this package."""
    return tfscale.build_network(
        tfscale.TransformerConfig(vocabulary_size=50, sequence_length=8, hidden_dim=8, num_heads=2)
    )


def small_dataset() -> tf.data.Dataset:
    """Returns batches of (ids, targets), each (4, 8)."""
    ids = np.random.default_rng(0).integers(0, 50, (16, 9)).astype("int32")
    return tf.data.Dataset.from_tensor_slices((ids[:, :-1], ids[:, 1:])).batch(4).repeat()


def small_classifier() -> dict[str, object]:
    """Returns a reader's classifier of ids (B, 8), and rows to test it on, by their names."""
    x = np.random.default_rng(0).integers(0, 50, (32, 8)).astype("int32")
    network = keras.Sequential(
        [
            keras.Input((8,), dtype="int32"),
            keras.layers.Embedding(50, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    return {"classifier": network, "x_test": x, "y_test": x[:, 0] % 2}
