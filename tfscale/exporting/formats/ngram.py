"""A compact file of n-grams, for `tfscale.device`."""

from tfscale.exporting.ngram import NGramFormat, NGramSource
from tfscale.exporting.source import Export
from tfscale.ngram import NGramModel
from tfscale.ngram.files import MODEL_FILE, write_model
from tfscale.registry import register


@register
class NGramFile(NGramFormat):
    """The .ngram file that a run has, with rounded probabilities where `quantize` says so."""

    name = "ngram"
    summary = "a compact file of an n-gram model"
    file = MODEL_FILE
    digits_limit = 0.0
    template = "ngram.md.j2"

    def write(self, export: Export[NGramSource]) -> None:
        write_model(export.source.stored(export.config), export.path(self.file))

    def read(self, export: Export[NGramSource]) -> NGramModel:
        return NGramModel.load(export.path(self.file))
