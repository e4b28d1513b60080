"""A plugin: a model family, an export format, a tokenizer, a task and a reader of somebody else.

`tfscale --plugins tests.extending.plugin COMMAND ...` imports it, and so does `import` in Python.
It uses public names of tfscale alone. The family is in `gated_convolution.py`, the format in
`weights_format.py`.
"""

import importlib.util

import numpy as np

import tests.extending.weights_format  # noqa: F401
import tfscale

if importlib.util.find_spec("tensorflow"):  # A device does without the family.
    import tests.extending.gated_convolution  # noqa: F401


@tfscale.register
class NibbleTokenizer(tfscale.Tokenizer):
    """Two tokens a byte, its upper and its lower half; frequent bytes have a token of their own.

    Args:
        whole: the bytes with a token of their own.
    """

    kind = "nibble"
    lossless = True
    trainable = True
    unknown_id = None

    def __init__(self, whole: bytes):
        self.whole = whole
        self.end_id = 32 + len(whole)
        self.vocabulary_size = self.end_id + 1
        self._ids = {byte: 32 + place for place, byte in enumerate(whole)}

    @classmethod
    def train(cls, documents, vocabulary_size, options):
        counts = np.zeros(256, np.int64)
        for document in documents:
            counts += np.bincount(np.frombuffer(document.encode(), np.uint8), minlength=256)
        frequent = np.argsort(-counts, kind="stable")[: max(0, min(vocabulary_size - 33, 200))]
        return cls(bytes(int(byte) for byte in frequent if counts[byte]))

    def encode_batch(self, texts):
        return [[id for byte in text.encode() for id in self._of_byte(byte)] for text in texts]

    def _of_byte(self, byte):
        return [self._ids[byte]] if byte in self._ids else [byte >> 4, 16 + (byte & 15)]

    def piece(self, id):
        self.check_id(id)
        if id == self.end_id:
            return "</s>"
        return f"<{self.whole[id - 32]:02X}>" if id >= 32 else f"<{id:X}>"

    def token_bytes(self, id, previous):
        # The byte of two halves comes with the second one.
        if id >= 32:
            return self.whole[id - 32 : id - 31]
        upper = previous if previous is not None and previous < 16 else 0
        return b"" if id < 16 else bytes([upper << 4 | (id - 16)])

    def files(self):
        return {"whole.bin": self.whole}

    @classmethod
    def from_files(cls, config, files):
        return cls(files["whole.bin"])


@tfscale.register
class RecordReader(tfscale.Reader):
    """Records of lines `name: value`, with an empty line between two records."""

    name = "records"
    suffixes = (".rec",)
    has_rows = True

    def documents(self, file, reading):
        for row in self.rows(file):
            yield str(row.fields["text"])

    def rows(self, file, labelled=True):
        fields, start = {}, 1
        with file.open() as stream:
            for number, line in enumerate([*stream, b"\n"], 1):
                name, colon, value = line.decode("utf-8").strip().partition(": ")
                if colon:
                    start = start if fields else number
                    fields[name] = value
                elif name:
                    raise tfscale.DataError(
                        f"{file.name}, line {number}: expected name: value; received {name!r}"
                    )
                elif fields:
                    yield tfscale.Row(f"line {start}", fields)
                    fields = {}


@tfscale.register
class ParityTask(tfscale.Task):
    """Whether a text has an even or an odd number of a letter: one of two labels."""

    name = "parity"
    summary = "whether something in a text is even or odd"
    title = "Even or odd"
    metric = "accuracy"

    @classmethod
    def example(cls, row, where, fields, labelled):
        if not isinstance(row.get(fields.text), str):
            raise tfscale.DataError(f"{where}: there is no {fields.text!r}")
        labels = (str(row[fields.label]),) if labelled else ()
        return tfscale.Example(where, row[fields.text], labels, fields=row)

    def encode(self, example):
        ids = [self.tokenizer.start_id, *self.tokenizer.encode(example.text)]
        return tfscale.Encoded(self.window(ids))

    def decode(self, logits, example, encoded):
        return {"parity": self.labels[int(np.argmax(logits[0]))]}

    def show(self, prediction):
        return f"it is {prediction['parity']}"

    def metrics(self, examples, predictions):
        pairs = list(zip(examples, predictions, strict=True))
        right = sum(example.labels[0] == guess["parity"] for example, guess in pairs)
        return {"examples": len(pairs), "accuracy": right / len(pairs)}

    def baseline(self, train, examples):
        return [{"parity": self.labels[0]} for _ in examples]
