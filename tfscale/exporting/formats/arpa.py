"""A text file of n-grams that other programs read, such as KenLM."""

from tfscale.exporting.ngram import NGramFormat, NGramSource
from tfscale.exporting.source import Export
from tfscale.ngram import NGramModel, read_arpa, write_arpa
from tfscale.registry import register


@register
class ArpaFile(NGramFormat):
    """An ARPA file, which has 7 digits after the point."""

    name = "arpa"
    summary = "a text file of an n-gram model that other programs read"
    recipes = ("none",)
    file = "model.arpa"
    digits_limit = 1e-5
    template = "arpa.md.j2"

    def write(self, export: Export[NGramSource]) -> None:
        write_arpa(
            export.source.stored(export.config), export.source.tokenizer, export.path(self.file)
        )

    def read(self, export: Export[NGramSource]) -> NGramModel:
        return read_arpa(export.path(self.file), export.source.tokenizer)
