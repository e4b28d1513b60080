"""`capabilities`: what a Keras model of ids -> logits can do, whoever built it.

A `LanguageNetwork` declares it; any other model offers some of the same members, or none.
"""

from dataclasses import dataclass

import keras

from tfscale.config.models import Predicts
from tfscale.models.network import Decodes, LanguageNetwork

HIDDEN_STATE_MEMBERS = ("hidden_states", "project", "output_variables")
"""The members of `LanguageNetwork` that a network offers which can be computed up to its hidden
states."""


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a Keras model of ids -> logits, whoever built it.

    Attributes:
        predicts: see `Predicts`.
        decodes: see `Decodes`.
        has_hidden_states: whether it offers `hidden_states`, `project` and `output_variables`.
        stateful: whether it carries its state from batch to batch in training and evaluation.
        attends: whether its hidden states can be computed with a source seen in both directions.
        separates: whether it can compute the documents of a window each by itself.
        one_token: whether it reads one token a call, a prompt too.
    """

    predicts: Predicts
    decodes: Decodes
    has_hidden_states: bool
    stateful: bool
    attends: bool = False
    separates: bool = False
    one_token: bool = False

    @property
    def is_cloze(self) -> bool:
        """Whether it reads both sides of what it predicts, so that exp(loss) is not a
        perplexity."""
        return self.predicts != "next"


def capabilities(network: keras.Model) -> Capabilities:
    """Returns what a network can do.

    Args:
        network: a `LanguageNetwork`, or a Keras model of somebody's own. The latter declares that
            it reads both sides by `network.cloze = True`, and may offer the members of
            `LanguageNetwork`.
    """
    if isinstance(network, LanguageNetwork):
        stateful = network.config.stateful
        return Capabilities(
            network.predicts,
            network.decodes,
            True,
            stateful,
            network.attends,
            network.separates,
            one_token=network.decodes == "state",
        )
    config = getattr(network, "config", None)
    decodes: Decodes = "none"
    if hasattr(network, "cached_step"):
        decodes = getattr(network, "decodes", "cache")
    predicts: Predicts = "cloze" if getattr(network, "cloze", False) else "next"
    return Capabilities(
        predicts="masked" if hasattr(network, "mask_id") else predicts,
        decodes=decodes,
        has_hidden_states=not missing_members(network),
        stateful=bool(getattr(config, "stateful", False)),
        one_token=getattr(network, "one_token", decodes == "state"),
    )


def missing_members(network: keras.Model) -> list[str]:
    """Returns which of HIDDEN_STATE_MEMBERS a network lacks, for messages; see `capabilities`."""
    return [name for name in HIDDEN_STATE_MEMBERS if not hasattr(network, name)]


def declared_output_variables(network: keras.Model) -> list[keras.Variable] | None:
    """Returns the weights that a network says its output is made of; None where it says nothing."""
    declared = getattr(network, "output_variables", None)
    return None if declared is None else list(declared)
