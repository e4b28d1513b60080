"""Checks that a network can keep the documents of a window apart, where a training asks for it."""

import keras

from tfscale.config import NetworkConfig
from tfscale.config.step import CompileOptions
from tfscale.errors import ConfigError
from tfscale.models.capability import capabilities
from tfscale.models.documents import Documents, documents_of
from tfscale.models.network import network_class


def checked_documents(options: CompileOptions, *networks: keras.Model) -> Documents | None:
    """Returns how the step of some options keeps documents apart; None where it does not.

    Args:
        options: see `CompileOptions`.
        *networks: those that read the windows, the one that is trained first, then its teacher.

    Raises:
        ConfigError: one of them cannot, or does not know the ids that documents begin and end with.
    """
    documents = documents_of(options, options.document_start, options.document_end)
    if documents is not None:
        for network in networks:
            check_separates(network)
            tokens = network.config.vocabulary_size
            for name, id in (("start", documents.start_id), ("end", documents.end_id)):
                if id is not None and id >= tokens:
                    raise ConfigError(
                        f"document_{name}={id} is no id of {network.name!r}, which knows {tokens}"
                        f" tokens; give tokenizer.{name}_id of the tokenizer that made the ids"
                    )
    return documents


def check_separates(network: keras.Model) -> None:
    """Refuses a network that cannot compute the documents of a window each by itself.

    Raises:
        ConfigError: says which can.
    """
    can = capabilities(network)
    if not can.separates:
        raise _refusal(type(network), network.name, can.is_cloze)


def check_family_separates(config: NetworkConfig) -> None:
    """Refuses the config of a network that cannot, as `check_separates` does, before it is built.

    Raises:
        ConfigError: says which can.
    """
    kind = network_class(type(config))
    if not kind.separates:
        raise _refusal(kind, config.family, config.predicts != "next")


def _refusal(kind: type, name: str, is_cloze: bool) -> ConfigError:
    why = "does not offer it"
    if is_cloze:
        why = "reads both sides of a token, and learns from an end token that its text is over"
    return ConfigError(
        f"document_mask=True keeps the documents of a window apart, and {kind.__name__} {name!r}"
        f" {why}; leave it out, or take a network of tfscale.build_network that predicts the next"
        " token"
    )
