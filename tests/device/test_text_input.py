"""How a text becomes a row of ids: found from rows that Keras's own padding made, and never guessed."""

import keras
import numpy as np
import pytest

from tfscale.device.text_input import layouts_of, row_of
from tfscale.errors import ConfigError
from tfscale.text.tokenizers import train_tokenizer

TOKENIZER = train_tokenizer("byte", [], 257)
END = TOKENIZER.end_id
TEXTS = ["a", "bc", "a longer one", "def g"]
OTHERS = ["x", "some other text", "seven !"]
T = 6
WAYS = {
    "zeros before, the end is kept": {},
    "zeros behind, the beginning is kept": {"padding": "post", "truncating": "post"},
    "end tokens behind": {"padding": "post", "truncating": "post", "value": END},
}


def rows_of(texts, options, marks=False):
    ids = [TOKENIZER.encode(text) for text in texts]
    ids = [[END, *row, END] for row in ids] if marks else ids
    return keras.utils.pad_sequences(ids, maxlen=T, **options)


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_way_is_found(way, marks):
    layouts = layouts_of(TOKENIZER, TEXTS, rows_of(TEXTS, WAYS[way], marks))
    expected = rows_of(OTHERS, WAYS[way], marks)
    found = [row_of(layouts, TOKENIZER, text, T) for text in OTHERS]
    np.testing.assert_array_equal(found, expected)


def test_what_no_row_shows_is_refused_and_not_guessed():
    short = ["a", "bc"]
    layouts = layouts_of(TOKENIZER, short, rows_of(short, {}))
    np.testing.assert_array_equal(row_of(layouts, TOKENIZER, "xyz", T), rows_of(["xyz"], {})[0])
    with pytest.raises(ConfigError, match="15 tokens and the model reads 6.* such a text is cut"):
        row_of(layouts, TOKENIZER, "some other text", T)
    long = ["a longer one", "another one"]
    layouts = layouts_of(TOKENIZER, long, rows_of(long, {}))
    with pytest.raises(ConfigError, match="1 tokens and .* such a text is filled up"):
        row_of(layouts, TOKENIZER, "a", T)


def test_rows_of_another_tokenizer_are_refused():
    rows = rows_of(TEXTS, {})
    rows[2, 3] += 1
    with pytest.raises(ConfigError, match=r"text 2 \('a longer one'\) does not give row 2"):
        layouts_of(TOKENIZER, TEXTS, rows)
