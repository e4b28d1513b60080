"""N-gram models as ARPA files, the text format that KenLM, SRILM and others read and write.

Their words are the tokens here. The end token is `</s>` where it ends an n-gram and `<s>` where it
begins one. A token that an ARPA file cannot spell, because it holds white space or is not a
character, is written as `<id:N>`.
"""

from collections.abc import Iterator
from typing import IO

import numpy as np

from tfscale.errors import DataError
from tfscale.files.paths import atomic_write
from tfscale.ngram.count import token_bits
from tfscale.ngram.levels import Level
from tfscale.ngram.model import NGramModel
from tfscale.text.tokenizers import Tokenizer

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
_LN10 = float(np.log(10))
_NEVER = -99.0
"""The base-10 logarithm that ARPA files give to what cannot happen."""


def token_names(tokenizer: Tokenizer) -> list[str]:
    """Returns how an ARPA file spells each token; the end token as `</s>`."""
    names: list[str] = []
    seen = {BEGIN, END, UNKNOWN}
    for token in range(tokenizer.vocabulary_size):
        piece = tokenizer.piece(token)
        if token == tokenizer.end_id:
            names.append(END)
        elif token == tokenizer.unknown_id:
            names.append(UNKNOWN)
        elif (
            not piece
            or piece in seen
            or piece.startswith("<id:")
            or piece.split() != [piece]
            or "\x00" in piece
        ):
            names.append(f"<id:{token}>")
        else:
            names.append(piece)
        seen.add(names[-1])
    return names


def write_arpa(model: NGramModel, tokenizer: Tokenizer, path: str) -> None:
    """Writes a model as an ARPA file, under a temporary name first.

    Args:
        model: the model.
        tokenizer: names its tokens.
        path: the file.

    Example:
        write_arpa(model, tokenizer, "model.arpa")
    """
    names = token_names(tokenizer)
    with atomic_write(path, "w") as file:
        file.write("\\data\\\n")
        for k, size in enumerate(model.sizes, 1):
            file.write(f"ngram {k}={size + (1 if k == 1 else 0)}\n")
        for k, level in enumerate(model.levels, 1):
            file.write(f"\n\\{k}-grams:\n")
            last = k == model.order
            logs, backoffs = level.log_probabilities / _LN10, level.log_backoffs / _LN10
            for number, words in enumerate(_spelled(model, k, names)):
                text = " ".join(words)
                # The end token has the probability of </s>, and the back-off weight of <s>.
                if k == 1 and words[0] == END:
                    weights = ("", "") if last else ("\t0", f"\t{backoffs[number]:.7f}")
                    file.write(
                        f"{logs[number]:.7f}\t{END}{weights[0]}\n{_NEVER:.0f}\t{BEGIN}{weights[1]}\n"
                    )
                elif last or words[-1] == END:
                    file.write(f"{logs[number]:.7f}\t{text}{'' if last else chr(9) + '0'}\n")
                else:
                    file.write(f"{logs[number]:.7f}\t{text}\t{backoffs[number]:.7f}\n")
        file.write("\n\\end\\\n")


def _spelled(model: NGramModel, k: int, names: list[str]) -> Iterator[list[str]]:
    """Yields the words of each n-gram of order k, in order."""
    bits = np.uint64(token_bits(model.vocabulary_size))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for start in range(0, model.sizes[k - 1], 1 << 16):
        keys = model.levels[k - 1].keys[start : start + (1 << 16)]
        columns: list[np.ndarray] = []
        for below in range(k - 2, -1, -1):
            columns.insert(0, (keys & mask).astype(np.int64))
            keys = model.levels[below].keys[(keys >> bits).astype(np.int64)]
        columns.insert(0, keys.astype(np.int64))
        for row in np.stack(columns, 1).tolist():
            words = [names[token] for token in row]
            if k > 1 and words[0] == END:
                words[0] = BEGIN
            yield words


def read_arpa(path: str, tokenizer: Tokenizer) -> NGramModel:
    """Reads an ARPA file whose words are tokens of a tokenizer.

    Args:
        path: the file, of any program.
        tokenizer: its words must be pieces of this one. Tokens that the file does not know share
            the probability of its `<unk>`.

    Raises:
        DataError: a word that is not a token, a count that is not that of its section, a line that
            is not an n-gram, an n-gram whose first tokens are none, or a file that ends early; the
            message names the line.

    Example:
        model = read_arpa("model.arpa", load_tokenizer("data"))
    """
    try:
        with open(path, encoding="utf-8") as file:
            return _Reader(file, path, tokenizer).read()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the ARPA file {path}: {error}") from error


class _Reader:
    def __init__(self, file: IO[str], path: str, tokenizer: Tokenizer):
        self.lines = enumerate((line.strip("\r\n") for line in file), 1)
        self.path = path
        self.end_id = tokenizer.end_id
        self.size = tokenizer.vocabulary_size
        self.ids = {name: token for token, name in enumerate(token_names(tokenizer))}
        self.bits = token_bits(self.size)

    def read(self) -> NGramModel:
        sizes = self._sizes()
        levels: list[Level] = []
        numbers: dict[tuple[int, ...], int] = {}
        for k, size in enumerate(sizes, 1):
            rows = self._section(k, size, last=k == len(sizes))
            if k == 1:
                levels.append(self._unigrams(rows))
                numbers = {(token,): token for token in range(self.size)}
                continue
            keyed = []
            for line, words, log, backoff in rows:
                tokens = tuple(self._token(word, line, at, k) for at, word in enumerate(words))
                if tokens[:-1] not in numbers:
                    self._fail(
                        line,
                        f"the {k}-gram {' '.join(words)!r} has no {k - 1}-gram"
                        f" {' '.join(words[:-1])!r}",
                    )
                keyed.append(
                    (numbers[tokens[:-1]] << self.bits | tokens[-1], log, backoff, tokens, line)
                )
            keyed.sort(key=lambda row: row[0])
            for one, other in zip(keyed, keyed[1:], strict=False):
                if one[0] == other[0]:
                    self._fail(max(one[4], other[4]), "the n-gram occurs twice")
            numbers = {row[3]: number for number, row in enumerate(keyed)}
            levels.append(
                Level(
                    np.array([row[0] for row in keyed], np.uint64),
                    np.array([row[1] for row in keyed], np.float32) * _LN10,
                    np.array([row[2] for row in keyed], np.float32) * _LN10,
                )
            )
        levels = [
            Level(x.keys, x.log_probabilities.astype(np.float32), x.log_backoffs.astype(np.float32))
            for x in levels
        ]
        return NGramModel(levels, self.size, self.end_id)

    def _sizes(self) -> list[int]:
        for _, line in self.lines:
            if line.strip() == "\\data\\":
                break
        else:
            raise DataError(f"{self.path} is not an ARPA file: it has no line \\data\\")
        sizes: list[int] = []
        for number, line in self.lines:
            if not line.strip():
                if sizes:
                    return sizes
                continue
            name, _, count = line.partition("=")
            if name.split() != ["ngram", str(len(sizes) + 1)] or not count.strip().isdigit():
                self._fail(
                    number,
                    f"expected 'ngram {len(sizes) + 1}=COUNT' or an empty line; received {line!r}",
                )
            sizes.append(int(count))
        raise DataError(f"{self.path} ends in its header")

    def _section(self, k: int, size: int, last: bool) -> list[tuple[int, list[str], float, float]]:
        number, line = next(((n, text) for n, text in self.lines if text.strip()), (0, ""))
        if line.strip() != f"\\{k}-grams:":
            self._fail(number, f"expected \\{k}-grams:; received {line!r}")
        rows: list[tuple[int, list[str], float, float]] = []
        for number, line in self.lines:
            if not line.strip():
                break
            if line.startswith("\\") and "\t" not in line:
                self._fail(number, f"expected an empty line after the {k}-grams; received {line!r}")
            words = line.split()
            try:
                values = float(words[0]), (float(words[k + 1]) if len(words) == k + 2 else 0.0)
            except (ValueError, IndexError):
                values = None
            if (
                values is None
                or len(words) not in ((k + 1,) if last else (k + 1, k + 2))
                or not values[0] <= 1e-6
            ):
                self._fail(
                    number,
                    f"expected a base-10 logarithm, {k} words and a back-off weight; received"
                    f" {line!r}",
                )
            else:
                rows.append((number, words[1 : k + 1], *values))
        if len(rows) != size:
            raise DataError(f"{self.path} has {len(rows)} {k}-grams, and its header says {size}")
        if last:
            closing = next((text for _, text in self.lines if text.strip()), "")
            if closing.strip() != "\\end\\":
                raise DataError(
                    f"{self.path} is cut short: it has no line \\end\\ after its {k}-grams"
                )
        return rows

    def _unigrams(self, rows: list[tuple[int, list[str], float, float]]) -> Level:
        logs, backoffs = np.full(self.size, -np.inf), np.zeros(self.size)
        unknown = _NEVER
        for line, (word,), log, backoff in rows:
            if word == BEGIN:
                backoffs[self.end_id] = backoff * _LN10
            elif word == UNKNOWN and UNKNOWN not in self.ids:
                unknown = log
            else:
                token = self._token(word, line, 0, 1)
                logs[token] = log * _LN10
                if word != END:
                    backoffs[token] = backoff * _LN10
        missing = ~np.isfinite(logs)
        if UNKNOWN in self.ids and not missing[self.ids[UNKNOWN]]:
            unknown = logs[self.ids[UNKNOWN]] / _LN10
            missing[self.ids[UNKNOWN]] = missing.any()
        logs[missing] = unknown * _LN10 - np.log(max(1, missing.sum()))
        return Level(np.arange(self.size, dtype=np.uint64), logs, backoffs)

    def _token(self, word: str, line: int, at: int, k: int) -> int:
        if (word == BEGIN and at == 0 and k > 1) or (word == END and at == k - 1):
            return self.end_id
        if word in (BEGIN, END):
            self._fail(
                line,
                f"{word} is word {at + 1} of a {k}-gram: {BEGIN} can be the first one, {END} the"
                " last one",
            )
        if word not in self.ids:
            self._fail(
                line,
                f"{word!r} is not a token of the tokenizer; give the one that the text was cut"
                " with",
            )
        return self.ids[word]

    def _fail(self, line: int, what: str) -> None:
        raise DataError(f"{self.path}, line {line}: {what}")
