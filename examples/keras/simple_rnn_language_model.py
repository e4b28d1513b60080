"""A language model of characters: embedding + SimpleRNN + Dense, trained on source code of Python.

    python examples/keras/simple_rnn_language_model.py [FOLDER]

What it shows: `tfscale.LanguageModel`, whose loss, the cross-entropy of the next token, is built
in, and a .tflite file that scores text.
"""

import inspect
import shutil
import sys
import tempfile

import keras
import numpy as np

import tfscale
import tfscale.device

LENGTH = 64
folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="simple-rnn-")
keras.utils.set_random_seed(1)

text = inspect.getsource(shutil)
characters = sorted(set(text))
ids = np.array([characters.index(character) for character in text], "int32")
windows = np.lib.stride_tricks.sliding_window_view(ids[:-2000], LENGTH + 1)[::16]
x, y = windows[:, :-1], windows[:, 1:]  # The target of a character is the one after it.

with tfscale.strategy("auto").scope():
    network = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(len(characters), 32),
            keras.layers.SimpleRNN(128, return_sequences=True),
            keras.layers.Dense(len(characters)),  # logits; the softmax belongs to the loss
        ]
    )
    model = tfscale.LanguageModel(network)
    model.compile(keras.optimizers.Adam(3e-3), clip_norm=1.0)
model.fit(x, y, batch_size=32, epochs=6, verbose=2)

# The file is compared with the model on the last 2,000 characters, which it has not read.
report = tfscale.export_keras(
    network,
    output=folder,
    sequence_length=LENGTH,
    held_out=ids[-2000:],
    end_id=characters.index("\n"),
)
file = tfscale.device.load(folder)
perplexity = report["perplexity"]["file"]
print(f"perplexity {perplexity:.2f} of {len(characters)} characters; the file is in {folder}")

written = "def copy"
while len(written) <= LENGTH:
    logits = file.logits([characters.index(character) for character in written])
    written += characters[logits[-1].argmax()]
print(written)
