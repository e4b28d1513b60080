"""The tokenizer of a data folder, trained on a sample of its text."""

from collections.abc import Iterable

from tfscale.config import PrepareConfig
from tfscale.terminal import note, to_stderr
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers import Tokenizer, train_tokenizer
from tfscale.text.tokenizers.training import AUTOMATIC_SIZE, trainable_kind


def train_on(
    config: PrepareConfig, texts: Iterable[str], cleaner: Cleaner, progress: bool
) -> Tokenizer:
    """Trains the tokenizer that the options ask for.

    Args:
        config: the options.
        texts: the sample of the training text; read only if the kind of tokenizer reads text.
        cleaner: how the text was cleaned; the tokenizer keeps it.
        progress: whether to say on stderr what is done.

    Raises:
        TokenizerError: the text does not support the vocabulary.
    """
    reads_text = trainable_kind(config.tokenizer).reads_text
    sample = list(texts) if reads_text else []
    if progress and reads_text:
        size = sum(map(len, sample))
        to_stderr(f"training the {config.tokenizer} tokenizer on {size:,} characters")
    tokenizer = train_tokenizer(
        config.tokenizer,
        sample,
        config.vocabulary_size,
        seed=config.seed,
        sentencepiece_model=config.sentencepiece_model,
        word_segmenter=config.word_segmenter,
    )
    smaller = not config.vocabulary_size and tokenizer.vocabulary_size < AUTOMATIC_SIZE
    if progress and smaller and reads_text:
        note(
            f"a vocabulary of {tokenizer.vocabulary_size:,} entries: the text does not support"
            f" {AUTOMATIC_SIZE:,}"
        )
    tokenizer.cleaner = cleaner
    return tokenizer
