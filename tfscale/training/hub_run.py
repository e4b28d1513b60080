"""A keras-hub preset as a run folder, so that every command takes it: evaluate, generate, train, compress, export."""

from typing import Any

from tfscale.config import Precision, TrainConfig
from tfscale.errors import ConfigError, TokenizerError
from tfscale.files import TRAINED_FILES, claim_directory
from tfscale.models.hub import backbone_of, from_keras_hub
from tfscale.options import checks_arguments
from tfscale.text.tokenizers import Tokenizer
from tfscale.text.tokenizers.bpe import LLAMA_3, BytePairTokenizer
from tfscale.text.tokenizers.sentencepiece_tokenizer import SentencePieceTokenizer, keeping_text
from tfscale.training.run_folder import write_untrained_run


@checks_arguments
def import_keras_hub(
    source: Any, output: str, *, sequence_length: int = 0, precision: Precision = "float32", tokenizer: Any = None
) -> dict[str, Any]:
    """Writes a run folder with the weights and the tokenizer of a keras-hub decoder.

    The tokenizer's vocabulary and merges, or its SentencePiece model, become those of the run; it reads text as it is,
    without the space that some SentencePiece models put before its first word.

    Args:
        source: folder of a preset (`save_to_preset`, or a download), or a `keras_hub.models.CausalLM` or backbone.
        output: run folder to write.
        sequence_length: context of the run in tokens; see `tfscale.models.hub.from_keras_hub`.
        precision: compute type in which the run is trained on.
        tokenizer: one of keras-hub, where the source has none.

    Returns:
        `architecture`, `parameters`, `vocabulary_size`, `context` and `tokenizer` of what was written.

    Raises:
        ConfigError: an architecture that cannot be expressed, or no tokenizer.
        TokenizerError: a tokenizer that does not bring every text back.
        DataError: the output folder holds something else.

    Example:
        import_keras_hub("presets/gpt2_base_en", "gpt2", sequence_length=256)
    """
    claim_directory(output, "config.yaml", "a run folder", without=(*TRAINED_FILES, "model.ngram"))
    backbone = backbone_of(source)
    ours = tokenizer_of(_their_tokenizer(source) if tokenizer is None else tokenizer)
    network = from_keras_hub(backbone, sequence_length, precision, ours.vocabulary_size)
    name = type(backbone).__name__.removesuffix("Backbone")
    summary = {
        "architecture": name, "parameters": network.count_params(), "vocabulary_size": ours.vocabulary_size,
        "context": network.config.sequence_length, "tokenizer": ours.kind,
    }  # fmt: skip
    write_untrained_run(output, network, ours, TrainConfig(precision=precision), summary)
    return summary


def tokenizer_of(theirs: Any) -> Tokenizer:
    """A tokenizer of keras-hub as one of tfscale: byte-pair encoding over bytes, or SentencePiece.

    Raises:
        TokenizerError: another kind, or one without an end token or a way to spell every byte.
    """
    if proto := getattr(theirs, "proto", None):
        return SentencePieceTokenizer(keeping_text(proto))
    if getattr(theirs, "merges", None) is None:
        raise TokenizerError(
            f"{type(theirs).__name__} has neither merges nor a SentencePiece model; byte-pair encoding and "
            "SentencePiece are taken"
        )
    end = getattr(theirs, "end_token", None)
    if end is None:
        raise TokenizerError(f"{type(theirs).__name__} names no end token")
    # The words that the models were trained by. keras-hub 0.32 itself cuts none outside of a graph: it hands the
    # regular expression over as a plain string.
    words = "" if "GPT2" in type(theirs).__name__ else LLAMA_3
    return BytePairTokenizer.from_merges(theirs.vocabulary, theirs.merges, end, words)


def _their_tokenizer(source: Any) -> Any:
    if not isinstance(source, str):
        found = getattr(getattr(source, "preprocessor", None), "tokenizer", None)
        if found is None:
            raise ConfigError(f"{type(source).__name__} has no tokenizer; give tokenizer=, one of keras-hub")
        return found
    import keras_hub

    try:
        return keras_hub.models.Tokenizer.from_preset(source)
    except Exception as error:  # keras-hub lets through what its loaders raise, of many kinds
        raise ConfigError(f"{source} has no tokenizer: {str(error).strip().splitlines()[0]}") from error
