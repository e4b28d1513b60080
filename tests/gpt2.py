"""A Transformer with GPT-2's parts, for tests that are about these, or that were measured with them."""

from tfscale.config import TransformerConfig
from tfscale.config.gpt2_parts import GPT2_PARTS


def gpt2(**options):
    """A TransformerConfig whose parts are GPT-2's where they are not named."""
    return TransformerConfig(**{**GPT2_PARTS, **options})
