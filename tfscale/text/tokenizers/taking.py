"""Takes tokenizers that other libraries wrote: a Hugging Face folder or its `tokenizer.json`, or a
SentencePiece model."""

import os

from tfscale.errors import DataError, TokenizerError
from tfscale.files.json_text import parse_json
from tfscale.files.paths import exists, read_bytes
from tfscale.text.tokenizers.base import Tokenizer
from tfscale.text.tokenizers.given_names import (
    CONFIG_FILE,
    GENERATION_FILE,
    MODEL_CONFIG_FILE,
    GivenNames,
    end_among,
    names_in,
)
from tfscale.text.tokenizers.hub_files import files_beside
from tfscale.text.tokenizers.kinds.huggingface import HuggingFaceFile
from tfscale.text.tokenizers.kinds.sentencepiece_file import SentencePieceFile
from tfscale.text.tokenizers.special import SpecialTokens
from tfscale.text.tokenizers.streaming import StreamDecoder
from tfscale.text.tokenizers.taken import TakenTokenizer

_TRIED = "The quick  brown fox,\n\t12345 isn't naïve; 你好 🙂 ไทย\u00a0x"


def file_of(path: str) -> str | None:
    """Returns the file of another library's tokenizer that a path means; None where there is none.

    Args:
        path: a folder with tokenizer.json, tokenizer.model or spiece.model, or such a file.
    """
    if os.path.basename(path) in HuggingFaceFile.model_files or path.endswith(".model"):
        return path
    for name in (*HuggingFaceFile.model_files, *SentencePieceFile.model_files):
        if exists(os.path.join(path, name)):
            return os.path.join(path, name)
    return None


def is_ours(config: object) -> bool:
    """Returns whether the content of a tokenizer_config.json is of tfscale, not of Hugging Face."""
    return isinstance(config, dict) and bool({"format_version", "kind", "digest"} & config.keys())


def take(path: str) -> Tokenizer:
    """Returns the tokenizer of another library, with its special tokens, as it is.

    Files beside it, such as tokenizer_config.json, name its special tokens, and are kept with it.

    Args:
        path: what `file_of` returned.

    Raises:
        TokenizerError: a file is damaged, the tokenizer is of a kind that is not read, or nothing
            says which token ends a document.

    Example:
        take("SmolLM2-135M/tokenizer.json").stop_ids
    """
    folder, file = os.path.split(path)
    try:
        model = read_bytes(path, "the tokenizer's file")
        kept = files_beside(folder)
        named = _ends_beside(folder)
    except DataError as error:
        raise TokenizerError(str(error)) from error
    kept.pop(file, None)
    _leave_ours(kept)
    names = names_in(kept | named, folder or ".")
    try:
        if file in HuggingFaceFile.model_files:
            tokenizer = _hugging_face(model, names, path)
        else:
            tokenizer = _sentencepiece(model, names, file)
        tokenizer.original = kept
        return _checked(tokenizer)
    except TokenizerError as error:
        raise TokenizerError(f"{path} is not taken: {error}") from error


def _ends_beside(folder: str) -> dict[str, bytes]:
    """Returns the file that names the tokens at which the model stops, as transformers chooses it:
    generation_config.json, or the model's config.json where there is none."""
    for name in (GENERATION_FILE, MODEL_CONFIG_FILE):
        path = os.path.join(folder, name)
        if exists(path):
            return {name: read_bytes(path, "the model's file")}
    return {}


def _leave_ours(beside: dict[str, bytes]) -> None:
    try:
        if is_ours(parse_json(beside.get(CONFIG_FILE, b"").decode())):
            del beside[CONFIG_FILE]
    except ValueError:
        return  # It is not JSON, which is said by whoever reads the names in it.


def _hugging_face(model: bytes, names: GivenNames, path: str) -> TakenTokenizer:
    end = names.end
    if end is None:
        pieces = HuggingFaceFile.pieces_of(model)
        if missing := [id for id in names.stop_ids if id not in pieces]:
            raise TokenizerError(f"generation_config.json ends with id {missing[0]}, no token's")
        end = pieces[names.stop_ids[0]] if names.stop_ids else end_among(pieces.values(), path)
    tokenizer = HuggingFaceFile(model, end)
    before = tokenizer.put_before()
    start = before if names.start is None else tokenizer.id_of(names.start)
    return tokenizer.with_special(
        SpecialTokens(
            start_id=start,
            in_prompts=start is not None and (start == before or bool(names.starts)),
            stop_ids=names.stop_ids,
        )
    )


def _sentencepiece(model: bytes, names: GivenNames, file: str) -> TakenTokenizer:
    tokenizer = SentencePieceFile(model, names.end, file)
    known = range(tokenizer.vocabulary_size)
    for text, id in names.added.items():
        if type(id) is not int or id not in known or tokenizer.piece(id) != text:
            raise TokenizerError(
                f"added_tokens.json beside it gives {text!r} the id {id!r}, which the model itself"
                " does not; take a tokenizer.json, which holds both"
            )
    start = tokenizer.own_start_id if names.start is None else tokenizer.id_of(names.start)
    return tokenizer.with_special(
        SpecialTokens(
            start_id=start,
            in_prompts=start is not None and names.starts is not False,
            stop_ids=names.stop_ids,
        )
    )


def _checked(tokenizer: TakenTokenizer) -> Tokenizer:
    """Refuses a tokenizer whose tokens, spelled one by one, are not what its library makes of all
    of them; or one by which a text spells a token that ends it."""
    unknown = tokenizer.unknown_id
    if unknown is not None and unknown in tokenizer.stop_ids:
        raise TokenizerError(
            f"{tokenizer.piece(unknown)!r}, which ends a text, also stands for what is not in the"
            " vocabulary; name another end token"
        )
    for id in sorted(tokenizer.barred):
        piece = tokenizer.piece(id)
        for text in (piece, tokenizer.token_bytes(id, tokenizer.end_id).decode(errors="replace")):
            if id in [*tokenizer.encode(text), *tokenizer.encode(f"x{text}y")]:
                raise TokenizerError(
                    f"its special token {piece!r} is one that texts spell; name another"
                )
    ids = tokenizer.encode(_TRIED)
    decoder = StreamDecoder(tokenizer)
    streamed = "".join([decoder.push(id) for id in ids]) + decoder.flush()
    if streamed != (whole := tokenizer.decode(ids)):
        raise TokenizerError(
            f"its tokens one by one give {streamed!r}, and its library makes {whole!r} of them"
        )
    return tokenizer
