"""What tokenizers of Hugging Face's library `tokenizers` have in common: one file, and how it is
read."""

from typing import Any

from tfscale.errors import TokenizerError
from tfscale.text.tokenizers.base import Tokenizer


def import_tokenizers() -> Any:
    """Hugging Face's `tokenizers`, or a TokenizerError that says how to install it."""
    try:
        import tokenizers
    except ImportError as error:
        raise TokenizerError(
            "this tokenizer needs Hugging Face's library: pip install tokenizers"
        ) from error
    return tokenizers


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer whose `tokenizer.json` the library reads.

    Args:
        model: the content of `tokenizer.json`.

    Raises:
        TokenizerError: `tokenizers` is not installed, or the content is not such a file.
    """

    _pieces: list[str]

    def __init__(self, model: bytes):
        self.model = model
        try:
            self._tokenizer = import_tokenizers().Tokenizer.from_str(model.decode())
        except TokenizerError:
            raise
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

    def _files(self) -> dict[str, bytes]:
        return {"tokenizer.json": self.model}
