"""A keras-hub preset or a Hugging Face folder as a run folder, so that every command takes it:
evaluate, generate, train, compress, export."""

from collections.abc import Sequence

import keras

from tfscale.compat.keras_hub import HubTokenizer, hub_tokenizer, tokenizer_in
from tfscale.config import Precision, TrainConfig
from tfscale.config.options import checks_arguments
from tfscale.errors import ConfigError, TokenizerError, check_range
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.model_folders import TRAINED_FILES
from tfscale.models.hub import backbone_of, from_keras_hub
from tfscale.models.hub_loading import architecture_of, from_hub_folder, is_hub_folder, rows_of
from tfscale.models.hub_source import local_source
from tfscale.runs.folder import write_untrained_run
from tfscale.runs.hub_tokenizer import folder_tokenizer
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.text.tokenizers.hub_files import original_files
from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer
from tfscale.text.tokenizers.kinds.sentencepiece import SentencePieceTokenizer
from tfscale.text.tokenizers.sentencepiece_models import keeping_text, parse_model
from tfscale.text.tokenizers.special import SpecialTokens, turns_end_with
from tfscale.text.tokenizers.stopping import with_stops
from tfscale.text.tokenizers.word_patterns import LLAMA_3, QWEN


@checks_arguments
def import_(
    source: str | keras.Model,
    output: str,
    *,
    sequence_length: int = 0,
    precision: Precision = "float32",
    tokenizer: object = None,
    stop_tokens: Sequence[str] = (),
    tokenizer_from: str = "",
) -> JsonObject:
    """Writes a run folder with the weights and the tokenizer of a keras-hub decoder.

    The tokenizer's vocabulary and merges, or its SentencePiece model, become those of the run, with
    the token that the model reads before a text and those that end a completion.

    Args:
        source: folder of a preset (`save_to_preset`, or a download) or of Hugging Face,
            `hf://OWNER/NAME` of its hub, or a `keras_hub.models.CausalLM` or backbone.
        output: run folder to write.
        sequence_length: context of the run in tokens; see `tfscale.models.hub.from_keras_hub`.
        precision: compute type in which the run is trained on.
        tokenizer: one of keras-hub, where the source has none.
        stop_tokens: texts of special tokens that end a completion, beside those that keras-hub's
            tokenizer names; models that were tuned for chats end their answers with one.
        tokenizer_from: instead of `tokenizer` and of keras-hub's a Hugging Face folder or
            tokenizer.json, or a SentencePiece model, which the run gets as it is; see
            `tfscale.load_tokenizer`.

    Returns:
        `architecture`, `parameters`, `vocabulary_size`, `context` and `tokenizer` of what was
        written; `start_token`, which stands before a prompt (None: nothing does), and
        `stop_tokens`; and `turns_end_with`, tokens of chat formats that the vocabulary has and that
        are not stop tokens.

    Raises:
        ConfigError: an architecture that cannot be expressed, no tokenizer, or two.
        TokenizerError: a tokenizer that does not bring every text back, or that lacks a stop token.
        DataError: the output folder holds something else.

    Example:
        import_("presets/gpt2_base_en", "gpt2", sequence_length=256)
    """
    check_range(sequence_length >= 0, "sequence_length", sequence_length, "0 (the model's) or more")
    if tokenizer is not None and tokenizer_from:
        raise ConfigError("tokenizer and tokenizer_from both name a tokenizer; give one of them")
    claim_directory(output, "config.yaml", "a run folder", without=(*TRAINED_FILES, "model.ngram"))
    source = local_source(source)
    # Before the weights, whose reading takes longer.
    if tokenizer_from:
        ours = with_stops(load_tokenizer(tokenizer_from), stop_tokens, tokenizer_from)
    if isinstance(source, str) and is_hub_folder(source):
        name = architecture_of(source)
        if not tokenizer_from:
            ours = _of_folder(source, tokenizer, stop_tokens)
        network = from_hub_folder(source, sequence_length, precision, ours.vocabulary_size)
    else:
        backbone = backbone_of(source)
        name = type(backbone).__name__.removesuffix("Backbone")
        if not tokenizer_from:
            ours = _ours(source, tokenizer, stop_tokens)
        network = from_keras_hub(
            backbone,
            sequence_length,
            precision,
            ours.vocabulary_size,
            consume=isinstance(source, str),
        )
    summary = {
        "architecture": name,
        "parameters": network.count_params(),
        "vocabulary_size": ours.vocabulary_size,
        "context": network.config.sequence_length,
        "tokenizer": ours.kind,
        "start_token": ours.piece(ours.start_id) if ours.prompt_start else None,
        "stop_tokens": [ours.piece(id) for id in ours.stop_ids],
        "turns_end_with": turns_end_with(ours.special_tokens, ours.stop_ids),
    }
    # These models were trained by AdamW or the like.
    options = TrainConfig(optimizer="adamw", precision=precision)
    write_untrained_run(output, network, ours, options, summary)
    return summary


def _of_folder(folder: str, tokenizer: object, stop_tokens: Sequence[str]) -> Tokenizer:
    """Returns the run's tokenizer of a Hugging Face folder."""
    if tokenizer is not None:
        return tokenizer_of(tokenizer, stop_tokens)
    return folder_tokenizer(
        folder, rows_of(folder), stop_tokens, lambda stops: _ours(folder, None, stops)
    )


def _ours(source: str | keras.Model, tokenizer: object, stop_tokens: Sequence[str]) -> Tokenizer:
    """Makes the run's tokenizer of keras-hub's, which is gone before weights are copied."""
    if tokenizer is not None:
        return tokenizer_of(tokenizer, stop_tokens)
    ours = tokenizer_of(_their_tokenizer(source), stop_tokens)
    if isinstance(source, str):
        ours.original = original_files(source)
    return ours


def tokenizer_of(theirs: object, stop_tokens: Sequence[str] = ()) -> Tokenizer:
    """Makes a tokenizer of tfscale of one of keras-hub.

    It is one of byte-pair encoding over bytes, or of SentencePiece. Its start token and its end
    tokens are those of keras-hub's, and a SentencePiece model that reads a space before the first
    word of a text goes on to do so.

    Args:
        theirs: a tokenizer of keras-hub.
        stop_tokens: texts of special tokens that end a completion too.

    Raises:
        TokenizerError: another kind, one without an end token or a way to spell every byte, or a
            stop token that is not a special token of its vocabulary.

    Example:
        tokenizer_of(keras_hub.models.GemmaTokenizer.from_preset("gemma"), ["<end_of_turn>"])
    """
    source = hub_tokenizer(theirs)
    leading_space = False
    if source.model is not None:
        proto = parse_model(source.model)
        leading_space = proto.normalizer_spec.add_dummy_prefix
        # No text spells the start token, whatever the model says of it.
        start = [] if source.start_id is None else [proto.pieces[source.start_id].piece]
        ours: Tokenizer = SentencePieceTokenizer(
            keeping_text(source.model, [*stop_tokens, *start], source.end)
        )
        _check_end(ours, source)
    else:
        ours = _byte_pairs(source)
    special = SpecialTokens(
        start_id=source.start_id,
        in_prompts=source.start_id is not None,
        stop_ids=() if source.second_end_id is None else (source.second_end_id,),
        leading_space=leading_space,
    )
    return with_stops(ours.with_special(special), stop_tokens, source.name)


def _check_end(ours: Tokenizer, source: HubTokenizer) -> None:
    if source.end_id not in (None, ours.end_id):
        raise TokenizerError(
            f"{source.name} ends a text with {source.end!r} (id {source.end_id}) and its"
            f" SentencePiece model with {ours.piece(ours.end_id)!r} (id {ours.end_id}); they must"
            " be one token"
        )


def _byte_pairs(source: HubTokenizer) -> Tokenizer:
    if source.merges is None or source.vocabulary is None:
        raise TokenizerError(
            f"{source.name} has neither merges nor a SentencePiece model; byte-pair"
            " encoding and SentencePiece are taken"
        )
    if source.end is None:
        raise TokenizerError(f"{source.name} names no end token")
    # The words that the models were trained by. keras-hub 0.32 itself cuts none outside of a graph:
    # it hands the regular expression over as a plain string.
    others = {"GPT2": "", "Qwen": QWEN}
    words = next((words for name, words in others.items() if name in source.name), LLAMA_3)
    return BytePairTokenizer.from_merges(source.vocabulary, source.merges, source.end, words)


def _their_tokenizer(source: str | keras.Model) -> object:
    if not isinstance(source, str):
        tokenizer = tokenizer_in(source)
        if tokenizer is None:
            raise ConfigError(
                f"{type(source).__name__} has no tokenizer; give tokenizer=, one of keras-hub"
            )
        return tokenizer
    import keras_hub

    try:
        return keras_hub.models.Tokenizer.from_preset(source)
    except Exception as error:  # keras-hub lets through what its loaders raise, of many kinds
        raise ConfigError(
            f"{source} has no tokenizer that keras-hub loads; --tokenizer-from takes one as it is"
            f" ({str(error).strip().splitlines()[0]})"
        ) from error
