"""TSV: a table with a head, whose columns are parted by tabs."""

from tfscale.errors import DataError
from tfscale.registry import register
from tfscale.text.readers.csv import CSVReader


@register
class TSVReader(CSVReader):
    """Rows by the names of their columns.

    A quote that is not closed would take the rows after it into its field: csv finds most of them,
    and a field of several lines with a tab in it counts as one.
    """

    name = "tsv"
    suffixes = (".tsv", ".tab")
    delimiters = "\t"

    def check_row(self, row: list[str], where: str) -> None:
        if any("\t" in field and ("\n" in field or "\r" in field) for field in row):
            raise DataError(f'{where}: a quote (") that begins a field is not closed before it')
