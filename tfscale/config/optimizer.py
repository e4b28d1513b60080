"""`OptimizerSpec`: what is known of an optimizer before Keras is imported.

An optimizer of `TrainConfig.optimizer` is one of Keras's classes and a small declaration: which of
the class's options tfscale offers, their defaults, the state that it keeps for each weight, and the
learning rate that suits it. The declarations are in `tfscale.config.optimizers`, one file each.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from tfscale.errors import ConfigError, check_range
from tfscale.registry import OPTIMIZERS

if TYPE_CHECKING:
    from tfscale.config.models import NetworkConfig

OptionValue: TypeAlias = float | int | bool
Range: TypeAlias = tuple[Callable[[Any], bool], str]

NOT_NEGATIVE: Range = (lambda value: value >= 0, "0 or more")
POSITIVE: Range = (lambda value: value > 0, "more than 0")
# Below it float32, in which an optimizer computes, has 0, and divides by it.
TINY: Range = (lambda value: value >= 1.18e-38, "1.18e-38 or more, which float32 tells from 0")
RATE: Range = (lambda value: 0 <= value < 1, "0 to below 1")
POSITIVE_RATE: Range = (lambda value: 0 < value < 1, "more than 0 and below 1")
RANGES: Mapping[str, Range] = {
    "weight_decay": NOT_NEGATIVE,
    "beta_1": RATE,
    "beta_2": RATE,
    "epsilon": TINY,
    "momentum": RATE,
    "rho": RATE,
    "initial_accumulator_value": NOT_NEGATIVE,
    "beta_2_decay": (lambda value: -1 <= value < 0, "-1 to below 0"),
    "epsilon_1": TINY,
    "epsilon_2": TINY,
    "clip_threshold": POSITIVE,
    "adam_beta_1": RATE,
    "adam_beta_2": RATE,
    "adam_lr_ratio": POSITIVE,
    "ns_steps": (lambda value: value == 0 or 1 <= value <= 20, "0 (a shorter iteration) to 20"),
    "rms_rate": NOT_NEGATIVE,
}
"""The values that an option may have, with the words for them. Other options are true or false."""


class OptimizerSpec:
    """Declares an optimizer for `TrainConfig(optimizer=...)`.

    A subclass is registered by `tfscale.register`. It sets:

    Attributes:
        name: what a user types.
        summary: one line for `--help`.
        keras_class: the Keras optimizer's module and class, with a dot between them. It is
            imported when an optimizer is built.
        defaults: the options of `TrainConfig` that the class takes, under Keras's names, each with
            its default.
        fixed: further arguments of the class, which are not options.
        slots: values of state for each weight.
        learning_rate_factor: what the model family's default learning rate is multiplied by.
        sequential_factor: the same for families whose layers read one token after the other.
        by_entries: whether each number of a weight is updated by itself. If not, the optimizer is
            refused under parameter servers, which cut large weights.
        matrices_argument: an argument of the class that takes the matrices of hidden layers; see
            `tfscale.training.muon.Muon`. Empty for one that treats all weights alike.

    Example:
        @tfscale.register
        class Sign(tfscale.OptimizerSpec):
            name, summary = "sign", "the sign of the gradient"
            keras_class = "my_package.optimizers.Sign"
            defaults = {"weight_decay": 0.0}
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    keras_class: ClassVar[str]
    defaults: ClassVar[Mapping[str, OptionValue]] = MappingProxyType({"weight_decay": 0.0})
    ranges: ClassVar[Mapping[str, Range]] = MappingProxyType({})
    """Ranges of options that are narrower than those of RANGES."""
    fixed: ClassVar[Mapping[str, object]] = MappingProxyType({})
    slots: ClassVar[int] = 1
    learning_rate_factor: ClassVar[float] = 1.0
    sequential_factor: ClassVar[float] = 1.0
    by_entries: ClassVar[bool] = True
    matrices_argument: ClassVar[str] = ""

    @classmethod
    def enter_registry(cls) -> None:
        """Registers the optimizer by its name; see `tfscale.register`.

        Raises:
            ConfigError: the class lacks an attribute, or offers an option that `TrainConfig` has
                not.
        """
        missing = [name for name in ("name", "summary", "keras_class") if not hasattr(cls, name)]
        if missing:
            raise ConfigError(f"{cls.__name__} lacks {', '.join(missing)}; see OptimizerSpec")
        unknown = [name for name in cls.defaults if name not in OPTIONS]
        if unknown:
            raise ConfigError(
                f"{cls.__name__} offers the option {unknown[0]}, which TrainConfig has not; there"
                f" are {', '.join(OPTIONS)}"
            )
        OPTIMIZERS.add(cls.name, cls)

    @classmethod
    def check(cls, options: Mapping[str, OptionValue]) -> None:
        """Refuses options that contradict each other; by default none do.

        Args:
            options: all options that the optimizer has.
        """

    @classmethod
    def state_values(cls, model: "NetworkConfig", options: Mapping[str, OptionValue]) -> float:
        """Returns the number of float32 values of state for a model, for `tfscale plan`.

        Args:
            model: the architecture, with its vocabulary size.
            options: all options that the optimizer has.
        """
        return float(cls.slots * model.parameter_count())

    @classmethod
    def learning_rate_for(cls, model: "NetworkConfig") -> float:
        """Returns the default peak learning rate for a model."""
        factor = cls.sequential_factor if model.sequential else cls.learning_rate_factor
        return model.learning_rate * factor

    @classmethod
    def options_of(cls, values: Mapping[str, object]) -> dict[str, Any]:
        """Returns the optimizer's options, with its defaults where a value is None.

        Args:
            values: the fields of a `TrainConfig`, by name; others than options are left out.
        """
        given = {name: values.get(name) for name in cls.defaults}
        return {
            name: cls.defaults[name] if value is None else value for name, value in given.items()
        }


OPTIONS: tuple[str, ...] = (*RANGES, "nesterov", "amsgrad", "centered")
"""All options of optimizers, under Keras's names."""


def check_optimizer_options(name: str, values: Mapping[str, object], why: str = "") -> None:
    """Checks the options that were given for an optimizer.

    Args:
        name: of the optimizer; empty where it depends on a model that is not known yet, so that
            nothing but the ranges that all optimizers share can be checked.
        values: the fields of a `TrainConfig`, by name; None is an option that was not given.
        why: what chose the optimizer, for the message; empty for the user.

    Raises:
        ConfigError: an option that this optimizer does not have, with those that have it; or a
            value that is out of range.
    """
    spec: type[OptimizerSpec] | None = OPTIMIZERS.get(name) if name else None
    for option in OPTIONS:
        value = values.get(option)
        if value is None:
            continue
        if spec is not None and option not in spec.defaults:
            having = [other.name for other in OPTIMIZERS if option in other.defaults]
            raise ConfigError(
                f"train.{option}={value!r} is no option of train.optimizer={name}{why}; it belongs"
                f" to {', '.join(having)}"
            )
        if option in RANGES:
            narrower = spec.ranges if spec is not None else {}
            holds, expected = narrower.get(option, RANGES[option])
            check_range(holds(value), f"train.{option}", value, expected)
    if spec is not None:
        spec.check(spec.options_of(values))


def with_optimizer_defaults(values: Mapping[str, object]) -> dict[str, object]:
    """Returns the training options of a run with its optimizer's defaults for None.

    A run that was begun before an option was there has none; what it means is the default.
    """
    name = values.get("optimizer")
    if not isinstance(name, str) or name not in OPTIMIZERS:
        return dict(values)
    return {**values, **OPTIMIZERS.get(name).options_of(values)}
