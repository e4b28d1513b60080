"""Training for more than the text: for the recipe of a file, and for the predictions of a
teacher."""

import keras
import tensorflow as tf

from tfscale.config import NetworkConfig, Quantization, TrainConfig
from tfscale.config.compression import DistillConfig
from tfscale.config.options import checks_arguments, to_dict
from tfscale.data.manifest import Manifest
from tfscale.distribution.parameter_server import is_asynchronous
from tfscale.distribution.strategy import strategy
from tfscale.errors import ConfigError, TokenizerError
from tfscale.files.json_text import JsonObject
from tfscale.models import LanguageNetwork, build_network
from tfscale.models.recipe import recipe
from tfscale.models.weight_formats import weight_formats
from tfscale.runs.folder import Run, load_run
from tfscale.runs.provenance import Provenance
from tfscale.runs.train import Beginning, train
from tfscale.training.distillation import Teacher
from tfscale.training.language_model import LanguageModel
from tfscale.training.model import Model, is_built


def quantize_aware(model: LanguageModel | Model, quantize: Quantization) -> list[str]:
    """Trains a model for a recipe of export: call it before `compile`.

    In the forward pass each weight is what the recipe would store, and the gradient reaches the
    weight itself (Jacob et al. 2018; straight-through, Bengio et al. 2013). Validation and the
    saved network have the rounded weights, which the exporter rounds to themselves.

    Args:
        model: a `LanguageModel` or `Model` around any Keras 3 network that is built.
        quantize: the recipe.

    Returns:
        The paths of the weights that are rounded.

    Raises:
        ConfigError: the model is compiled already, not built or on parameter servers, or none of
            its weights is rounded.

    Example:
        tfscale.compress.quantize_aware(model, "int4")
        model.compile(keras.optimizers.AdamW(1e-4))
    """
    _check_before_compile(model, "quantize_aware")
    if not is_built(model.network):
        raise ConfigError(
            f"model {model.network.name!r} is not built yet, and quantize_aware has to see all of"
            " its weights: call it once on a batch, network(x[:1]), before"
        )
    formats = {
        path: form
        for path, form in weight_formats(model.network, quantize).items()
        if form.bits <= 8
    }
    if not formats or not recipe(quantize).rounds:
        raise ConfigError(f"no weight of {model.network.name!r} is quantized by {quantize}")
    model.formats = formats
    return list(formats)


def distill(
    model: LanguageModel | Model,
    teacher: keras.Model,
    weight: float = 0.5,
    temperature: float = 2.0,
    from_logits: bool | None = None,
) -> None:
    """Lets a model learn from a teacher besides the targets: call it before `compile`, in the
    strategy's scope.

    The loss of a token, or of each prediction of a class, is (1 - weight) x cross-entropy + weight
    x temperature^2 x the Kullback-Leibler divergence from the teacher's prediction to the
    student's, both at the temperature (Hinton et al. 2015). The teacher predicts in the step, on
    each replica. A `LanguageModel` reports losses and perplexities of the text alone. A `Model` has
    any loss of classes in place of cross-entropy, weighs, masks and averages the values as Keras
    does those of the loss, and reports in training the loss that it minimizes, in evaluation the
    one without the teacher.

    Args:
        model: the student; a `Model` with one output (B, ..., C).
        teacher: ids (B, T) -> logits (B, T, V), or for a `Model` what the student takes and gives;
            made in the same scope; it stays as it is.
        weight: the teacher's part of the loss, above 0 to 1.
        temperature: divides the logits of both.
        from_logits: for a `Model`, whether both networks give logits, or probabilities; None takes
            what the loss says by its own `from_logits`.

    Raises:
        ConfigError: the model is compiled already or on parameter servers, another vocabulary, a
            value out of range, or a teacher that gives no logits of the next token, such as one
            that ends in softmax.

    Example:
        with strategy.scope():
            model = tfscale.LanguageModel(student)
            tfscale.compress.distill(model, teacher, weight=0.5, temperature=2.0)
            model.compile(keras.optimizers.AdamW(1e-3))
    """
    _check_before_compile(model, "distill")
    lesson = Teacher(teacher, weight, temperature, from_logits)
    model.check_teacher(lesson)
    model.teacher = lesson


@checks_arguments
def distill_run(
    model_config: NetworkConfig,
    train_config: TrainConfig,
    config: DistillConfig,
    *,
    data: str,
    output: str,
    progress: bool = True,
) -> JsonObject:
    """Trains a new model with a trained run as its teacher; goes on where it stopped, like `train`.

    Args:
        model_config: the student's architecture.
        train_config: how it is trained.
        config: the teacher's run folder, its part of the loss and the temperature.
        data: data folder, tokenized as the teacher's.
        output: run folder to write.
        progress: show progress on stderr.

    Returns:
        The summary of the new run, with `teacher`: the folder and validation of the teacher.

    Raises:
        ConfigError: no teacher, or one whose context is shorter than the student's windows.
        TokenizerError: the data was tokenized by another tokenizer than the teacher's.

    Example:
        distill_run(LSTMConfig(), TrainConfig(steps=2000), DistillConfig(teacher="big", weight=0.5),
                    data="data", output="small")
    """
    if not config.teacher or not config.weight:
        raise ConfigError(
            "distillation needs distill.teacher, a run folder, and a distill.weight above 0"
        )
    # Workers must meet before TensorFlow is used, and a run is loaded by it.
    strategy(train_config.strategy)
    teacher = load_run(config.teacher)
    check_teacher(teacher, data_tokenizer_digest(data), model_config.sequence_length, data)

    def begin(model: LanguageModel) -> None:
        lesson = copy_in_scope(teacher.network, train_config)
        distill(model, lesson, config.weight, config.temperature)

    def finish(model: LanguageModel) -> JsonObject:
        validation = teacher.summary.get("validation")
        return {"teacher": {"run": teacher.directory, "validation": validation}}

    provenance = Provenance(distill=to_dict(config), teacher_digest=teacher.weights_digest)
    beginning = Beginning(begin, finish, provenance)
    return train(
        model_config, train_config, data=data, output=output, progress=progress, beginning=beginning
    )


def check_teacher(teacher: Run, tokenizer_digest: str, sequence_length: int, data: str) -> None:
    """Checks that a teacher can read the student's windows.

    Raises:
        TokenizerError: the data has other tokens.
        ConfigError: the windows are longer than the teacher's context.
    """
    if teacher.tokenizer.digest != tokenizer_digest:
        raise TokenizerError(
            f"{data} was tokenized by another tokenizer than that of the teacher"
            f" {teacher.directory}"
        )
    context = teacher.model_config.max_context
    if context is not None and context < sequence_length:
        raise ConfigError(
            f"the teacher {teacher.directory} reads at most {context} tokens, and the student's"
            f" windows have model.sequence_length={sequence_length}; give {context} or less"
        )


def data_tokenizer_digest(data: str) -> str:
    """Returns the digest of the tokenizer that made a data folder."""
    return Manifest.load(data, verify="size").tokenizer_digest


def copy_in_scope(network: LanguageNetwork, train_config: TrainConfig) -> LanguageNetwork:
    """Returns the same network with variables of the strategy in whose scope this is called, in the
    run's precision."""
    copy = build_network(network.config, train_config.precision)
    for own, weight in zip(copy.weights, network.weights, strict=True):
        own.assign(tf.convert_to_tensor(weight.value))
    copy.trainable = False
    return copy


def _check_before_compile(model: LanguageModel | Model, name: str) -> None:
    if model.train_step_runner is not None:
        raise ConfigError(f"{name} comes before compile, which builds the train step")
    if is_asynchronous(model.strategy):
        raise ConfigError(
            f"{name} is not for parameter servers; take another strategy: the checkpoints of a run"
            " are the same"
        )
