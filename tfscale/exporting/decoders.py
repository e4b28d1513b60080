"""`decoder_of`: the networks that formats of other programs' architectures are for."""

from typing import cast

from tfscale.errors import ConfigError
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.models.hub_parts import has_parts
from tfscale.models.transformer import TransformerLM


def decoder_of(form: str, network: DecodingNetwork) -> TransformerLM:
    """Returns a network whose options say which architecture of other programs it is.

    Args:
        form: name of the format, for the message.
        network: of any family.

    Raises:
        ConfigError: the network's family has other options.
    """
    config = network.config
    if has_parts(config):
        return cast(TransformerLM, network)
    raise ConfigError(
        f"format={form!r} is for the family transformer; this is of the family {config.family}:"
        " give --format tflite"
    )
