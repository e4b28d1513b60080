"""A worker of test_model_workers.py: trains a model and writes what came out.

python -m tests.training.model_worker STRATEGY FOLDER ORDER

ORDER is "same" or "other", the order of the rows on the workers of a `tfscale.Model`, or "language"
for a `tfscale.LanguageModel`.
"""

import json
import os
import sys

import keras
import numpy as np

import tfscale
from tests.training.tiny import gru_network
from tfscale.distribution.workers import Workers
from tfscale.errors import TfscaleError
from tfscale.launching.heartbeat import beat
from tfscale.launching.parent import follow_launcher


def train(name, seed):
    """Returns the worker's index and its results: histories, evaluation and weights, or an error."""
    strategy = tfscale.strategy(name)
    beat(0)
    index = Workers(strategy).index
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(25, 6)).astype("float32"), rng.integers(0, 3, 25)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = tfscale.Model(
            keras.Sequential([keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = keras.optimizers.Adam(0.01, global_clipnorm=0.1)
        model.compile(optimizer, loss=loss, metrics=["accuracy"], micro_batches=2, xla=False)
    if seed != "same":
        keras.utils.set_random_seed(index)  # Another order of the rows on each worker.
    try:
        history = model.fit(x, y, batch_size=8, epochs=2, validation_split=0.2, verbose=0).history
    except TfscaleError as error:
        return index, {"error": str(error)}
    return index, {
        "history": history,
        "test": model.evaluate(x, y, batch_size=8, verbose=0),
        "outputs": model.predict(x, verbose=0).tolist(),
        "weights": [weight.tolist() for weight in model.network.get_weights()],
    }


def train_language(name):
    """Returns the worker's index, and history and evaluation of a `LanguageModel` with metrics."""
    strategy = tfscale.strategy(name)
    beat(0)
    index = Workers(strategy).index
    stream = np.random.default_rng(0).integers(0, 16, (22, 7))
    x, y = stream[:, :-1], stream[:, 1:]
    with strategy.scope():
        model = tfscale.LanguageModel(gru_network(16))
        metrics = {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]}
        model.compile(keras.optimizers.SGD(0.5), xla=False, **metrics)
    weights = np.linspace(0.5, 1.5, 22)
    options = {"sample_weight": weights, "batch_size": 8, "verbose": 0}
    history = model.fit(x, y, epochs=2, validation_split=0.2, shuffle=False, **options).history
    del history["tokens_per_second"]
    return index, {"history": history, "test": model.evaluate(x, y, **options)}


if __name__ == "__main__":
    follow_launcher()
    strategy_name, folder, order = sys.argv[1:]
    trained = train_language(strategy_name) if order == "language" else train(strategy_name, order)
    worker, results = trained
    with open(os.path.join(folder, f"{worker}.json"), "w", encoding="utf-8") as file:
        json.dump(results, file)
