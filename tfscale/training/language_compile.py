"""`compile` of a language model: its loss, metrics, optimizer and step, and what a file keeps."""

import dataclasses
from typing import Unpack

import keras

from tfscale.compat.keras_metrics import forget_metrics
from tfscale.config.options import make_config
from tfscale.config.step import CompileOptions, StepKeywords
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.models.documents import documents_of
from tfscale.models.outputs import check_logits, probe_ids
from tfscale.training.added_losses import check_added_losses
from tfscale.training.asynchronous import AsynchronousStep
from tfscale.training.distillation import Teacher
from tfscale.training.fit import arguments as fit_arguments
from tfscale.training.fit.arguments import check_loss, check_trainable, check_unchanged, refuse
from tfscale.training.fit.compile_config import compile_as, compile_config
from tfscale.training.language_evaluation import LanguageEvaluation
from tfscale.training.model_xla import suits_xla
from tfscale.training.stateful import StatefulStep, check_streams, evaluation_step
from tfscale.training.step import TrainStep
from tfscale.training.step_options import check_no_own_step, check_steps_per_execution
from tfscale.training.token_metrics import TokenMetrics
from tfscale.training.xla import has_xla


class CompiledLanguageModel(LanguageEvaluation):
    """Makes the train step of a language model; see `LanguageModel`.

    Args:
        network: Keras model, ids (B, T) int32 -> logits (B, T, V).
        name: of the model.
    """

    train_step_runner: TrainStep | None

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adamw",
        loss: object = None,
        loss_weights: object = None,
        metrics: object = None,
        weighted_metrics: object = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: str | bool | None = "auto",
        auto_scale_loss: bool = True,
        **options: Unpack[StepKeywords],
    ) -> None:
        """Sets the optimizer, the metrics and what the step does.

        Args:
            optimizer: a Keras optimizer or its name, without clipping, EMA, accumulation or loss
                scaling of its own.
            loss: None, or `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`, which is
                the built-in one.
            loss_weights: must be None.
            metrics: Keras metrics, names or functions of targets (B, T) and logits (B, T, V). Each
                token that counts, counts once.
            weighted_metrics: likewise; each token counts by its weight.
            run_eagerly: must be False.
            steps_per_execution: `steps_per_call` of `fit`, where that is not given; 1 leaves it to
                `fit`.
            jit_compile: True or False for `xla`; "auto" leaves it to that.
            auto_scale_loss: must be True.
            **options: fields of `tfscale.config.step.CompileOptions`, such as `clip_norm=1.0`,
                `micro_batches=1`, `ema_decay=0.0`, `remat=False` or `xla=None`, which says what
                each of them does.

        Raises:
            ConfigError: another loss, an argument that has no meaning here, an unsuited optimizer,
                metrics under parameter servers or with `loss_chunk_tokens`, or a network that does
                not offer what `remat`, `loss_chunk_tokens` and `document_mask` need, or does not
                fit `streams`.
        """
        known = StepKeywords.__annotations__
        others = {name: value for name, value in options.items() if name not in known}
        others |= {
            "loss_weights": loss_weights,
            "run_eagerly": run_eagerly,
            "auto_scale_loss": auto_scale_loss,
        }
        refuse("compile", others, fit_arguments.COMPILE)
        check_no_own_step(
            self,
            ("train_step", "test_step", "compute_loss", "compute_metrics"),
            "give metrics to compile, or take tfscale.Model for another loss",
        )
        check_loss(loss)
        check_steps_per_execution(steps_per_execution)
        check_trainable(self.network, self.strategy)
        given = {name: value for name, value in options.items() if name in known}
        if isinstance(jit_compile, bool):
            given["xla"] = jit_compile
        asked: CompileOptions = make_config(CompileOptions, given)
        xla = suits_xla(self.network, self.workers.count) if asked.xla is None else asked.xla
        step_options = dataclasses.replace(asked, xla=xla)
        carries = check_streams(self.network, step_options, self.strategy)
        with self.strategy.scope():
            forget_metrics(self)
            # Not that of `Model`, which makes another step.
            keras.Model.compile(
                self,
                optimizer=optimizer,
                metrics=metrics,
                weighted_metrics=weighted_metrics,
                steps_per_execution=steps_per_execution,
                jit_compile=False,
                auto_scale_loss=False,
            )
            counted = self._metrics_of(step_options)
            arguments = (self.network, self.optimizer, step_options, self.strategy)
            if is_asynchronous(self.strategy):
                step: TrainStep = AsynchronousStep(*arguments)
            else:
                step_class = StatefulStep if carries else TrainStep
                step = step_class(*arguments, self.pruner, self.formats, self.teacher, counted)
        self.train_step_runner, self._token_metrics, self._todo = step, counted, ""
        self._parts_checked = False
        self._asked = asked
        self.train_state.follow(step)
        self._evaluation_step = evaluation_step(
            self.network,
            self.strategy,
            bool(step_options.xla),
            step_options.loss_chunk_tokens,
            counted,
            documents_of(step_options, step_options.document_start, step_options.document_end),
        )
        self._trained = [id(weight) for weight in self.network.trainable_variables]

    def _metrics_of(self, options: CompileOptions) -> TokenMetrics | None:
        in_parts = self.strategy.num_replicas_in_sync * options.micro_batches > 1
        xla = bool(options.xla) and has_xla()
        metrics = TokenMetrics.of(self, self.workers, in_parts, xla)
        if metrics is not None and options.loss_chunk_tokens:
            raise ConfigError(
                f"metrics look at whole logits, which loss_chunk_tokens={options.loss_chunk_tokens}"
                " does not make; leave out one of the two (loss and perplexity need no metrics)"
            )
        if metrics is not None and is_asynchronous(self.strategy):
            raise ConfigError(
                "metrics are not computed under parameter servers, whose workers take steps at"
                " their own pace; leave metrics out: loss and perplexity are logged"
            )
        return metrics

    def check_teacher(self, lesson: Teacher) -> None:
        """Refuses a teacher that does not give logits of the same next tokens.

        Raises:
            ConfigError: says what it gives.
        """
        if lesson.from_logits is not None:
            raise ConfigError("distill(from_logits=...) is for a Model; a LanguageModel has logits")
        check_logits(lesson.network, probe_ids(lesson.network))
        lesson.check_fits(self.network)

    def get_compile_config(self) -> JsonObject:
        """Returns what a `.keras` file keeps of `compile`; nothing if it was not called."""
        step = self.train_step_runner
        return {} if step is None else compile_config(self, step, self._asked)

    def compile_from_config(self, config: JsonObject) -> None:
        """Compiles a model that is being loaded as it was when it was saved."""
        with self.strategy.scope():
            self._todo = compile_as(self, config)

    def _check_parts(self, step: TrainStep, length: int) -> None:
        """Checks once that what layers add to the loss can be cut over the parts of a batch.

        Args:
            step: the train step.
            length: tokens of a window.

        Raises:
            ConfigError: it cannot.
        """
        in_parts = step.replicas * step.options.micro_batches > 1
        inputs = getattr(self.network, "inputs", None)
        any_rows = not inputs or inputs[0].shape[0] is None
        if in_parts and any_rows and not self._parts_checked and not is_asynchronous(self.strategy):
            ids = probe_ids(self.network, length)
            check_added_losses(self.network, ids, random=bool(step.seed_states))
        self._parts_checked = True

    def _ready_step(self, call: str) -> TrainStep:
        """Returns the train step.

        Raises:
            ConfigError: not compiled, or other weights are trainable than at `compile`.
        """
        step = self.train_step_runner
        if step is None:
            todo = f": {self._todo}" if self._todo else ""
            raise ConfigError(f"call compile(optimizer, ...) before {call}{todo}")
        check_unchanged(self, step, self._trained)
        return step
