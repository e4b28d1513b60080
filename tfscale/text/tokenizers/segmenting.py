"""Words of Chinese text, which has no white space between them, by the library jieba."""

import functools
import warnings
from collections.abc import Callable

from tfscale.errors import TokenizerError


@functools.cache
def jieba_words() -> Callable[[str], list[str]]:
    """Returns a function from a text to its words, punctuation and white space.

    Joined they are the text.

    It reads jieba's dictionary as it was installed, in about a second: words that a program added
    to jieba do not count, and no cache file is written, which jieba would share between users in
    the machine's temporary folder. So the same text gives the same words in every process.

    Raises:
        TokenizerError: jieba is not installed.

    Example:
        jieba_words()("我来到北京清华大学")    # ["我", "来到", "北京", "清华大学"]
    """
    try:
        with warnings.catch_warnings():
            # Its source has invalid escapes, and it imports setuptools' pkg_resources where there
            # is one.
            for category in (SyntaxWarning, DeprecationWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            import jieba
    except ImportError as error:
        raise TokenizerError(
            "the words of this tokenizer are found by jieba: pip install jieba"
        ) from error
    segmenter = jieba.Tokenizer()
    # What its `initialize` does, without the cache and the lines that it logs.
    segmenter.FREQ, segmenter.total = segmenter.gen_pfdict(segmenter.get_dict_file())
    segmenter.initialized = True
    return segmenter.lcut
