"""What every network has that is made of a config: it can be saved, and made again."""

from typing import Any, ClassVar

from tfscale.config import Precision, to_dict
from tfscale.errors import ConfigError


class Configured:
    """Comes before `keras.Model` in the order of a network's classes."""

    config_class: ClassVar[Any]
    """The class of `config`."""
    config: Any
    precision: Precision
    seed: int
    name: str

    @staticmethod
    def check_vocabulary(config: Any) -> None:
        """Refuses a config without its vocabulary size.

        Raises:
            ConfigError: it is 0.
        """
        if config.vocabulary_size < 1:
            raise ConfigError("model.vocabulary_size is 0; give the tokenizer's vocabulary size")

    def get_config(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "precision": self.precision,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects=None) -> Any:
        return cls(cls.config_class(**config.pop("config")), **config)  # type: ignore[call-arg]
