"""A Griffe extension: the `Example:` of a docstring is shown as Python code.

The code of an example is indented in the docstring and has no fence, as `help()` shows it. Without
this it would be set as a paragraph.
"""

import re
import textwrap
from typing import Any

from griffe import Extension, Object

EXAMPLE = re.compile(r"^Example:\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)


class Examples(Extension):
    """Puts a fence around each example before the docstring is parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrites the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """Puts fences around the code of the examples in a docstring.

    Args:
        docstring: The text without its common indentation.

    Returns:
        The text, whose `Example:` sections have fenced code.

    Example:
        >>> print(fenced("Adds.\n\nExample:\n    add(1, 2)"))
        Adds.
        <BLANKLINE>
        Example:
            ```python
            add(1, 2)
            ```
    """

    def fence(found: re.Match[str]) -> str:
        code = textwrap.dedent(found[1]).strip("\n")
        if "```" in code:
            return found[0]
        block = textwrap.indent(f"```python\n{code}\n```", "    ")
        return f"Example:\n{block}\n" + ("\n" if found[1].endswith("\n\n") else "")

    return EXAMPLE.sub(fence, docstring)
