"""A module outside the package with a filter and a removal, registered when it is imported."""

import re

import tfscale
from tfscale.text.filters.gopher_quality import GopherQuality


@tfscale.register
class ShortGopher(GopherQuality):
    """Gopher's rules for paragraphs, with another threshold."""

    name = "short_gopher"
    least_words = 8


@tfscale.register
class NoTables(tfscale.Filter):
    """Documents that are not mostly tables; the rows of a table are left out of the others."""

    name, summary = "no_tables", "drops documents that are mostly tables"
    reasons = {"cells": "half of the lines have a |"}

    def __call__(self, text):
        lines = text.splitlines()
        if "divide" in text:
            raise ZeroDivisionError("division by zero")
        cells = sum("|" in line for line in lines)
        if 2 * cells >= len(lines):
            return tfscale.Dropped("cells")
        return "\n".join(line for line in lines if "|" not in line)


@tfscale.register
class Orders(tfscale.Removal):
    """Numbers of orders."""

    name, summary, placeholder = "orders", "numbers of orders", "<order>"

    def find(self, text):
        return (match.span() for match in re.finditer(r"\bORD-[0-9]{6}\b", text))
