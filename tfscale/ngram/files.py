"""The files of an n-gram model: the model, and its description in model.json."""

from tfscale.files.description import Description
from tfscale.files.paths import atomic_write, sha256_file
from tfscale.ngram.model import NGramModel
from tfscale.text.tokenizers import Tokenizer

MODEL_FILE = "model.ngram"


def write_model(model: NGramModel, path: str) -> None:
    """Writes a model under a temporary name, then renames it."""
    with atomic_write(path) as file:
        model.save(file)


def describe(model: NGramModel, tokenizer: Tokenizer, path: str) -> Description:
    """Returns the description of the .ngram file at `path`."""
    return Description(
        family="ngram",
        format="ngram",
        model={"order": model.order, "ngrams": model.sizes},
        end_id=tokenizer.end_id,
        vocabulary_size=model.vocabulary_size,
        tokenizer="tokenizer",
        tokenizer_digest=tokenizer.digest,
        quantize="none",
        file=MODEL_FILE,
        sha256=sha256_file(path),
    )
