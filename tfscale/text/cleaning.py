"""Optional cleaning of documents; every step is off until it is named."""

import dataclasses
import re
import unicodedata
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Literal, get_args

from tfscale.files.json_text import JsonObject

UnicodeForm = Literal["none", "NFC", "NFKC"]

_HIDDEN = frozenset({"script", "style", "template", "noscript"})
_BLOCKS = frozenset(
    "address article aside blockquote br dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5"
    " h6 header hr li main nav ol p pre section table td th title tr ul".split()
)
_BLANKS = re.compile(r"[^\S\n]+")
_BLANKS_AT_LINE_END = re.compile(r" *\n *")
_LINE_ENDS = re.compile(r"\n{3,}")
_NEXT = "\0"
"""Stands for what follows the beginning of a text, where white space is collapsed."""


class _TextOfHtml(HTMLParser):
    """Collects the text that a reader of a page would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden_depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _HIDDEN:
            self._hidden_depth += 1
        elif tag in _BLOCKS:
            self._new_line()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._new_line()

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden_depth = max(0, self._hidden_depth - 1)
        elif tag in _BLOCKS:
            self._new_line()

    def handle_data(self, data: str) -> None:
        if not self._hidden_depth:
            self.parts.append(data)

    def _new_line(self) -> None:
        # Without it the last word of a paragraph and the first of the next would become one.
        if self.parts and not self.parts[-1].endswith("\n"):
            self.parts.append("\n")


def strip_html(text: str) -> str:
    """Removes tags, comments, scripts and styles, and resolves entities.

    Block elements start a new line.

    Example:
        strip_html("<p>a &amp; b</p><p>c</p>")    # "a & b\\nc\\n"
    """
    parser = _TextOfHtml()
    parser.feed(text)
    parser.close()
    return "".join(parser.parts)


def collapse_whitespace(text: str) -> str:
    """Shortens white space and strips both ends.

    Runs of blanks become one space, three and more line ends two, CRLF one line end.

    Blanks are all white space but the line end. Those beside a line end are dropped, so indentation
    is lost too.

    Example:
        collapse_whitespace("a\\t b \\r\\n\\r\\n\\r\\n c ")    # "a b\\n\\nc"
    """
    text = _BLANKS.sub(" ", text.replace("\r\n", "\n"))
    return _LINE_ENDS.sub("\n\n", _BLANKS_AT_LINE_END.sub("\n", text)).strip()


@dataclass(frozen=True, kw_only=True)
class Cleaner:
    """The cleaning steps that were asked for, applied in the order of the fields.

    Example:
        Cleaner(lowercase=True)("Ein Wort")    # "ein wort"
    """

    strip_html: bool = False
    unicode_normalization: UnicodeForm = "none"
    lowercase: bool = False
    collapse_whitespace: bool = False

    @classmethod
    def from_dict(cls, steps: object) -> "Cleaner":
        """Returns the cleaner that `to_dict` described.

        Raises:
            ValueError: the description has other steps, or values that they do not have.
        """
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        if not isinstance(steps, dict) or set(steps) - set(known):
            raise ValueError(f"cleaning steps are {', '.join(known)}; received {steps!r}")
        for name, value in steps.items():
            wanted = get_args(UnicodeForm) if isinstance(known[name], str) else (False, True)
            if value not in wanted or type(value) is not type(known[name]):
                raise ValueError(f"the cleaning step {name} is {value!r}; expected one of {wanted}")
        return cls(**steps)

    def to_dict(self) -> JsonObject:
        """Returns the steps that are on, by name."""
        default = Cleaner()
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(default, field.name)
        }

    @property
    def steps(self) -> list[str]:
        """The steps in words: options of `tfscale prepare`, and a Unicode form by its name."""
        return [value if isinstance(value, str) else name for name, value in self.to_dict().items()]

    def joined(self, other: "Cleaner") -> "Cleaner":
        """Returns the steps of both.

        Of two Unicode forms NFKC is taken, which does all that NFC does.
        """
        steps = self.to_dict() | other.to_dict()
        forms = {self.unicode_normalization, other.unicode_normalization}
        if "NFKC" in forms:
            steps["unicode_normalization"] = "NFKC"
        return Cleaner(**steps)

    def beginning(self, text: str) -> str:
        """Cleans the beginning of a text, such as a prompt.

        White space at its end is collapsed, and stays.

        Example:
            Cleaner(collapse_whitespace=True).beginning(" to  be ")    # "to be "
        """
        text = dataclasses.replace(self, collapse_whitespace=False)(text)
        return (
            collapse_whitespace(text + _NEXT).removesuffix(_NEXT)
            if self.collapse_whitespace
            else text
        )

    def __call__(self, text: str) -> str:
        """Returns the cleaned text; the text itself where no step was asked for."""
        if self.strip_html:
            text = strip_html(text)
        if self.unicode_normalization != "none":
            text = unicodedata.normalize(self.unicode_normalization, text)
        if self.lowercase:
            text = text.lower()
        if self.collapse_whitespace:
            text = collapse_whitespace(text)
        return text
