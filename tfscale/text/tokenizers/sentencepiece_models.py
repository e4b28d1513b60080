"""SentencePiece models: training, reading, and changing those of others."""

import io
import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from tfscale.config import SentencePieceModel
from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.special import CHAT_MARK
from tfscale.text.tokenizers.spellings import SPACE_MARK
from tfscale.text.tokenizers.training import PIECE_CHARACTERS, training_sentences
from tfscale.text.tokenizers.training_options import SizeError

if TYPE_CHECKING:
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

# Fixed, because the sums of unigram training are grouped by thread: the model must not depend on
# the machine's cores.
_TRAINING_THREADS = 4

# NUL separates sentences inside unigram training, U+2585 stands for unknown characters (a sentence
# with it would be passed over), and U+2581 for the space. All three are encoded by their bytes.
_RESERVED = str.maketrans({"\0": " ", "\u2585": " ", SPACE_MARK: " "})


def train_model(
    documents: Iterable[str], vocabulary_size: int, seed: int, model_type: SentencePieceModel
) -> bytes:
    """Returns a SentencePiece model of texts, serialized.

    Raises:
        TokenizerError: there is no text, or it does not support that vocabulary.
    """
    import sentencepiece

    pieces = (piece.translate(_RESERVED) for piece in training_sentences(documents))
    pieces = (piece for piece in pieces if piece.strip())
    first = next(pieces, None)
    if first is None:
        raise TokenizerError("a sentencepiece tokenizer cannot be trained on empty text")

    stopped: list[BaseException] = []

    def sentences() -> Iterator[str]:
        try:
            yield first
            yield from pieces
        except BaseException as error:
            stopped.append(error)
            raise

    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(),
            model_writer=model,
            model_type=model_type,
            vocab_size=vocabulary_size,
            byte_fallback=True,
            # Text must come back exactly: no normalization, no space added in front, none removed.
            # Runs of blanks and line ends become pieces, which is what indentation is made of.
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            max_sentence_length=16 * PIECE_CHARACTERS,
            num_threads=_TRAINING_THREADS,
            unk_id=0,
            eos_id=1,
            bos_id=-1,
            pad_id=-1,
            minloglevel=2,
        )
    except RuntimeError as error:
        # The library takes what ends its input, such as Ctrl-C, for a failure of its own.
        if stopped:
            raise stopped[0] from None
        raise _training_error(str(error), vocabulary_size) from error
    return model.getvalue()


def _training_error(message: str, vocabulary_size: int) -> TokenizerError:
    if match := re.search(r"Vocabulary size too high .*value <= (\d+)", message):
        return SizeError.too_large(vocabulary_size, int(match[1]))
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return SizeError(
            f"vocabulary_size={vocabulary_size} is too small for the text's characters and the 256"
            f" bytes; the smallest possible is {match[1]}",
            int(match[1]),
        )
    return TokenizerError(f"SentencePiece could not be trained: {message}")


def keeping_text(model: bytes, special: Collection[str] = (), end: str | None = None) -> bytes:
    """Returns a model that somebody else trained, changed so that it reads text as it is.

    Most put a space before the first word (`SpecialTokens.leading_space` does it for them), and
    some join spaces or normalize characters: then a text would not come back. The pieces stay.
    Those of chat formats, which such models find in any text, become control pieces: a text spells
    them only where `encode` is asked to parse them.

    Args:
        model: the serialized model.
        special: pieces that count as those of a chat format, whatever they look like.
        end: the piece that ends a document; None for the model's own. Phi 3 has another one.

    Raises:
        TokenizerError: the bytes are not a SentencePiece model.

    Example:
        SentencePieceTokenizer(keeping_text(pathlib.Path("llama/tokenizer.model").read_bytes()))
    """
    proto = parse_model(model)
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.precompiled_charsmap = b""
    for piece in proto.pieces:
        if piece.type == piece.USER_DEFINED and (
            piece.piece in special or CHAT_MARK.fullmatch(piece.piece)
        ):
            piece.type = piece.CONTROL
        if piece.piece == end:
            piece.type = piece.CONTROL
            proto.trainer_spec.eos_piece = end
    return proto.SerializeToString(deterministic=True)


def parse_model(model: bytes) -> "ModelProto":
    """Returns a serialized SentencePiece model as SentencePiece's `ModelProto`.

    Raises:
        TokenizerError: the bytes are not a SentencePiece model.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    try:
        return sentencepiece_model_pb2.ModelProto.FromString(model)
    except DecodeError as error:
        raise TokenizerError(f"not a SentencePiece model ({error})") from error
