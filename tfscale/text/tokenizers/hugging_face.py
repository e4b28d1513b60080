"""The common base of tokenizers that Hugging Face's library `tokenizers` reads."""

from types import ModuleType

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.base import Tokenizer


def import_tokenizers() -> ModuleType:
    """Returns the module `tokenizers`.

    Raises:
        TokenizerError: it is not installed.
    """
    try:
        import tokenizers
    except ImportError as error:
        raise TokenizerError(
            "this tokenizer needs Hugging Face's library: pip install tokenizers"
        ) from error
    return tokenizers


def byte_characters() -> list[tuple[int, str]]:
    """Returns GPT-2's character for each byte: itself if printable, or one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [(byte, chr(byte if byte in printable else next(others))) for byte in range(256)]


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer whose `tokenizer.json` the library reads.

    Args:
        model: the content of `tokenizer.json`.

    Raises:
        TokenizerError: `tokenizers` is not installed, or the content is not such a file.
    """

    bundled_as = "hugging_face"
    _pieces: list[str]

    def __init__(self, model: bytes):
        self.model = model
        library = import_tokenizers()
        try:
            self._tokenizer = library.Tokenizer.from_str(model.decode())
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(
                f"tokenizer.json is not a tokenizer of Hugging Face's library ({error})"
            ) from error

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [
            encoding.ids
            for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def piece(self, id: int) -> str:
        self.check_id(id)
        return self._pieces[id]

    def tokenizer_json(self) -> bytes:
        return self.model

    def files(self) -> dict[str, bytes]:
        return {"tokenizer.json": self.model}
