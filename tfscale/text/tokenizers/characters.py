"""The characters of a text, before it is tokenized."""

from tfscale.errors import TokenizerError


def check_characters(text: str) -> None:
    """Refuses a text that UTF-8 cannot hold.

    Raises:
        TokenizerError: a lone surrogate, which is not a character.

    Example:
        check_characters("naïve")
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the text has a lone surrogate (U+{ord(text[error.start]):04X}) at character"
            f" {error.start}, which no UTF-8 text can hold; decode the text's bytes as UTF-8"
            " first"
        ) from error
