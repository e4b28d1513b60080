"""Film reviews, good or bad: embedding + bidirectional LSTM + softmax, on every GPU of the machine.

    python examples/keras/bilstm_classifier.py [FOLDER]

What it shows: a Keras classifier under MirroredStrategy, and its .tflite file. The reviews are
made up here and shaped like IMDB's: rows of word numbers, padded with 0. For the real ones take
`keras.datasets.imdb.load_data` and `keras.utils.pad_sequences`.
"""

import sys
import tempfile

import keras
import numpy as np

import tfscale
import tfscale.device

VOCABULARY, LENGTH = 500, 40
folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="bilstm-")
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)


def reviews(count):
    """Returns reviews (count, LENGTH) and labels: what most of five words of opinion say."""
    opinions = rng.integers(1, 41, (count, 5))  # Words 1 to 20 praise, 21 to 40 blame.
    others = rng.integers(41, VOCABULARY, (count, 25))
    words = rng.permuted(np.hstack([opinions, others]), axis=1)
    rest = rng.integers(41, VOCABULARY, (count, 10))
    rest[np.arange(10) >= rng.integers(0, 11, (count, 1))] = 0  # Reviews of 30 to 40 words.
    return np.hstack([words, rest]), (np.sum(opinions <= 20, axis=1) >= 3).astype("int32")


strategy = tfscale.strategy("mirrored")
with strategy.scope():
    network = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(VOCABULARY, 16, mask_zero=True),
            keras.layers.Bidirectional(keras.layers.LSTM(16)),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model = tfscale.Model(network)
    model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=1.0),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
x_test, y_test = reviews(300)
model.fit(*reviews(3000), batch_size=64, epochs=4, validation_data=(x_test, y_test), verbose=2)

tfscale.export_keras(model, output=folder, samples=x_test, targets=y_test, labels=["bad", "good"])
file = tfscale.device.load(folder)
right = np.mean(file.predict(x_test)["output"].argmax(-1) == y_test)
print(f"trained on {strategy.num_replicas_in_sync} device(s); accuracy of the file: {right:.3f}")
print(f"the first review is {file.classify(x_test[:1])[0]}; the file is in {folder}")
