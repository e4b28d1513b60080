"""Checks that a network can keep the documents of a window apart, where a training asks for it."""

import keras

from tfscale.config.step import CompileOptions
from tfscale.errors import ConfigError
from tfscale.models.capability import capabilities
from tfscale.models.documents import Documents, documents_of


def checked_documents(options: CompileOptions, *networks: keras.Model) -> Documents | None:
    """Returns how the step of some options keeps documents apart; None where it does not.

    Args:
        options: see `CompileOptions`.
        *networks: those that read the windows, the one that is trained first, then its teacher.

    Raises:
        ConfigError: one of them cannot, or does not know the id that documents begin with.
    """
    documents = documents_of(options, options.document_start)
    if documents is not None:
        for network in networks:
            check_separates(network)
            tokens = network.config.vocabulary_size
            if documents.start_id >= tokens:
                raise ConfigError(
                    f"document_start={documents.start_id} is no id of {network.name!r}, which knows"
                    f" {tokens} tokens; give tokenizer.start_id of the tokenizer that made the ids"
                )
    return documents


def check_separates(network: keras.Model) -> None:
    """Refuses a network that cannot compute the documents of a window each by itself.

    Raises:
        ConfigError: says which can.
    """
    if capabilities(network).separates:
        return
    why = "does not offer it"
    if capabilities(network).is_cloze:
        why = "reads both sides of a token, and learns from an end token that its text is over"
    raise ConfigError(
        f"document_mask=True keeps the documents of a window apart, and {type(network).__name__}"
        f" {network.name!r} {why}; leave it out, or take a network of tfscale.build_network that"
        " predicts the next token"
    )
