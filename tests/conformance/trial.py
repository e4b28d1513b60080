"""`Trial`: one side of a comparison, stock Keras or tfscale, and what a habit saw there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras

import tfscale
from tests.conformance.recorder import BatchRecorder, Recorder, plain

Wrap = Callable[[keras.Model], keras.Model]


def stock(network: keras.Model) -> keras.Model:
    """Trains the network by its own `compile` and `fit`."""
    return network


def ours(network: keras.Model) -> keras.Model:
    """Trains the network by tfscale's step."""
    return tfscale.Model(network)


@dataclass
class Trial:
    """Makes models for a habit and keeps what they give.

    Attributes:
        wrap: makes the model that is trained of a network.
        folder: an empty folder of this side's own.
        seen: what was kept, by name, in order.
        right: what a hand sum or a run on one device says of some of the names.
        ignored: names that mean something else on each side.
    """

    wrap: Wrap
    folder: Path
    seen: dict[str, object] = field(default_factory=dict)
    right: dict[str, object] = field(default_factory=dict)
    ignored: set[str] = field(default_factory=set)
    networks: list[keras.Model] = field(default_factory=list)
    models: list[keras.Model] = field(default_factory=list)

    def model(self, network: keras.Model) -> keras.Model:
        """Returns the model of this side, whose weights are compared at the end."""
        model = self.wrap(network)
        self.networks.append(network)
        self.models.append(model)
        return model

    def compiled(
        self,
        network: keras.Model,
        loss: object = "mse",
        optimizer: object = "sgd",
        jit_compile: bool = False,
        **options: object,
    ) -> keras.Model:
        """Returns `model(network)`, compiled; without XLA, which takes longer to start."""
        model = self.model(network)
        model.compile(optimizer=optimizer, loss=loss, jit_compile=jit_compile, **options)
        return model

    def own_model(self, network_class: type[keras.Model], overrides: type) -> keras.Model:
        """Returns a model whose class overrides methods of Keras's, as a user writes it.

        Args:
            network_class: of the network; stock Keras's model is a subclass of it, tfscale's is a
                `tfscale.Model` around one.
            overrides: class that has the methods.
        """
        if self.wrap is stock:
            return self.model(type("Own", (overrides, network_class), {})())
        network = network_class()
        model = type("Own", (overrides, tfscale.Model), {})(network)
        self.networks.append(network)
        self.models.append(model)
        return model

    def keep(self, name: str, value: object) -> None:
        """Keeps a value; a second one of the same name is numbered."""
        number = 1 + sum(key.split("#")[0] == name for key in self.seen)
        self.seen[name if number == 1 else f"{name}#{number}"] = plain(value)

    def expect(self, name: str, value: object) -> None:
        """Says what is right for a name that is kept, from another source than this side."""
        self.right[name] = plain(value)

    def fit(
        self,
        model: keras.Model,
        *data: object,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        batches: bool = True,
        **options: object,
    ) -> keras.callbacks.History:
        """Runs `fit`, and keeps its history and the calls of a recorder that stands last.

        Args:
            batches: whether the recorder looks at batches, too.
        """
        recorder = BatchRecorder() if batches else Recorder()
        options.setdefault("verbose", 0)
        history = model.fit(*data, callbacks=[*callbacks, recorder], **options)
        self.keep("epochs", history.epoch)
        self.keep("history", history.history)
        self.keep("calls", recorder.calls)
        return history

    def evaluate(self, model: keras.Model, *data: object, **options: object) -> None:
        """Runs `evaluate`, and keeps its result and the calls of a recorder."""
        recorder = BatchRecorder()
        result = model.evaluate(*data, verbose=0, callbacks=[recorder], **options)
        self.keep("evaluate", result)
        self.keep("calls", recorder.calls)

    def predict(self, model: keras.Model, data: object, **options: object) -> None:
        """Runs `predict`, and keeps its result and the calls of a recorder."""
        recorder = BatchRecorder()
        self.keep("predict", model.predict(data, verbose=0, callbacks=[recorder], **options))
        self.keep("calls", recorder.calls)

    def error(self, action: Callable[[], object]) -> None:
        """Keeps whether an action raises an error; stock Keras must raise one."""
        try:
            action()
        except Exception:
            self.keep("error", True)
        else:
            assert self.wrap is not stock, "stock Keras raises no error"
            self.keep("error", False)

    def end(self) -> None:
        """Keeps the state that all models ended with."""
        for network, model in zip(self.networks, self.models, strict=True):
            self.keep("weights", [weight.numpy() for weight in network.weights])
            optimizer = getattr(model, "optimizer", None)
            if optimizer is not None and int(optimizer.iterations.numpy()) > 0:
                self.keep("iterations", int(optimizer.iterations.numpy()))
                self.keep("slots", [variable.numpy() for variable in optimizer.variables[1:]])
