"""What somebody asks a telephone for: embedding + LSTM + Dense, from texts to an int8 file.

    python examples/keras/lstm_classifier.py [FOLDER]

What it shows: texts by `TextVectorization`, `fit` with `validation_split` and `EarlyStopping`, and
an int8 .tflite file with the names of its classes.
"""

import sys
import tempfile
from itertools import product

import keras
import numpy as np

import tfscale
import tfscale.device

folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="lstm-")
keras.utils.set_random_seed(1)

LABELS = ["alarm", "music", "weather"]
PHRASES = {
    "alarm": ["wake me", "set an alarm", "ring a bell", "do not let me sleep"],
    "music": ["play a song", "put on some jazz", "I would like to dance", "sing for me"],
    "weather": ["will it rain", "do I need a coat", "how warm is it", "is there snow"],
}
BEFORE = ["", "please", "hello phone", "could you tell me", "I am tired and say"]
AFTER = ["", "tomorrow", "at seven", "in Berlin", "on Sunday morning", "when I am home", "now"]

asked = [
    (f"{before} {phrase} {after}", label)
    for label, name in enumerate(LABELS)
    for before, phrase, after in product(BEFORE, PHRASES[name], AFTER)
]
np.random.default_rng(1).shuffle(asked)
words = keras.layers.TextVectorization(output_sequence_length=16)
words.adapt([text for text, _ in asked])
x = np.array(words([text for text, _ in asked]), "int32")
y = np.array([label for _, label in asked])

model = tfscale.Model(
    keras.Sequential(
        [
            keras.Input((16,), dtype="int32"),
            keras.layers.Embedding(words.vocabulary_size(), 16, mask_zero=True),
            keras.layers.LSTM(32),
            keras.layers.Dense(len(LABELS), "softmax"),
        ]
    )
)
model.compile(
    keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
)
stop = keras.callbacks.EarlyStopping(min_delta=0.01, patience=2, restore_best_weights=True)
model.fit(x, y, batch_size=16, epochs=12, validation_split=0.2, callbacks=[stop], verbose=2)

held_out = slice(len(x) * 4 // 5, None)  # what validation_split left out of the training
tfscale.export_keras(
    model, output=folder, samples=x[held_out], targets=y[held_out], labels=LABELS, quantize="int8"
)
file = tfscale.device.load(folder)
right = np.mean(file.predict(x[held_out])["output"].argmax(-1) == y[held_out])
print(f"accuracy of the int8 file: {right:.3f}; the file is in {folder}")
for text in ("hello phone play some jazz in Berlin", "is it warm tomorrow"):
    print(f"{text}: {file.classify(np.array(words([text]), 'int32'))[0]}")
