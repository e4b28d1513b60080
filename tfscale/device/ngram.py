"""An n-gram model on the device: NumPy is all it needs."""

from collections.abc import Callable, Sequence

from tfscale.device.model import ExportedFile, ids_to_score
from tfscale.device.runner import DeviceModel
from tfscale.errors import TokenizerError
from tfscale.files.description import Description
from tfscale.ngram.decoder import NGramDecoder
from tfscale.ngram.model import NGramModel
from tfscale.text.score import Score
from tfscale.text.tokenizers import Tokenizer


class NGramDeviceModel(DeviceModel):
    """A `model.ngram` with its tokenizer; made by `tfscale.device.load`, and used like any other
    model."""

    form = "ngram"

    def __init__(self, path: str, tokenizer: Tokenizer, description: Description, threads: int):
        self.ngrams = NGramModel.load(path)
        """The model itself."""
        if tokenizer.vocabulary_size != self.ngrams.vocabulary_size:
            raise TokenizerError(
                f"{path} knows {self.ngrams.vocabulary_size} tokens and the tokenizer beside it has"
                f" {tokenizer.vocabulary_size}; they do not belong together"
            )
        decoder = NGramDecoder(self.ngrams, tokenizer.start_id)
        super().__init__(path, decoder, tokenizer, description, threads)

    @classmethod
    def open(cls, file: ExportedFile) -> "NGramDeviceModel":
        """Loads a .ngram file."""
        file.check_digest()
        return cls(file.path, file.tokenizer(), file.description, file.threads)

    def score(
        self,
        text: str | Sequence[int],
        utf8_bytes: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Score:
        """Returns the likelihood of a text, one document with its end token, or of a stream of ids.

        Each token is predicted from those before it in its document; there are no windows.

        Raises:
            DataError: there is no token, or an id that the model does not have.
        """
        vocabulary_size = self.ngrams.vocabulary_size
        ids, known = ids_to_score(self.tokenizer, text, utf8_bytes, vocabulary_size)
        return self.ngrams.score(ids, progress=progress).of(known)

    def bytes_per_token(self) -> None:
        """Returns None: a search reads a few bytes here and there."""
        return None
