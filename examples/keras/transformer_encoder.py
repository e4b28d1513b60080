"""Good or bad, and not good or not bad: a Transformer encoder of Keras's own layers.

    python examples/keras/transformer_encoder.py [FOLDER]

What it shows: `keras.layers.MultiHeadAttention`, the metrics accuracy and AUC, and a float16
.tflite file of a model with one sigmoid.
"""

import sys
import tempfile

import keras
import numpy as np

import tfscale
import tfscale.device

VOCABULARY, LENGTH, WIDTH, NOT = 200, 24, 32, 1
layers = keras.layers
folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="transformer-")
keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)


def reviews(count):
    """Returns reviews (count, LENGTH) and labels: a word of opinion, which "not" turns around."""
    x = rng.integers(42, VOCABULARY, (count, LENGTH))
    x[:, 0] = rng.integers(2, 42, count)  # Words 2 to 21 praise, 22 to 41 blame.
    negated = rng.random(count) < 0.3
    x[negated, 1] = NOT
    labels = (x[:, 0] <= 21) != negated
    return rng.permuted(x, axis=1), labels.astype("int32")


def encoder_block(x):
    """Attention and two dense layers, each added to what it reads."""
    normed = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(num_heads=2, key_dim=WIDTH // 2)(normed, normed)
    normed = layers.LayerNormalization()(x)
    return x + layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, "gelu")(normed))


ids = keras.Input((LENGTH,), dtype="int32", name="ids")
x = layers.Embedding(VOCABULARY, WIDTH)(ids)
x = encoder_block(encoder_block(x))
x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
model = tfscale.Model(keras.Model(ids, layers.Dense(1, "sigmoid")(x)))
model.compile(
    keras.optimizers.AdamW(3e-3),
    loss="binary_crossentropy",
    metrics=["accuracy", keras.metrics.AUC(name="auc")],
    clip_norm=1.0,
)
x_test, y_test = reviews(500)
model.fit(*reviews(4000), batch_size=64, epochs=4, validation_data=(x_test, y_test), verbose=2)
print(model.evaluate(x_test, y_test, return_dict=True, verbose=0))

tfscale.export_keras(
    model, output=folder, samples=x_test, targets=y_test, labels=["bad", "good"], quantize="float16"
)
file = tfscale.device.load(folder)
right = np.mean((file.predict(x_test)["output"][:, 0] > 0.5) == y_test)
print(f"accuracy of the file: {right:.3f}")
print(f"the first review is {file.classify(x_test[:1])[0]}; the file is in {folder}")
