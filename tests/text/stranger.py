"""A module outside the package with a tokenizer kind and a reader, registered when it is imported."""

from tfscale.registry import register
from tfscale.text.reader import Reader, Row
from tfscale.text.tokenizers import Tokenizer


@register
class ShiftedTokenizer(Tokenizer):
    """The bytes of UTF-8 with an offset, saved in a file of its own."""

    kind = "shifted"
    lossless = True
    trainable = True
    end_id, unknown_id = 0, None
    vocabulary_size = 257

    def __init__(self, shift):
        self.shift = shift

    def encode_batch(self, texts):
        return [[(byte + self.shift) % 256 + 1 for byte in text.encode()] for text in texts]

    def piece(self, id):
        return f"<{id}>"

    def token_bytes(self, id, previous):
        return bytes(((id - 1 - self.shift) % 256,))

    def files(self):
        return {"shift.txt": str(self.shift).encode()}

    @classmethod
    def from_files(cls, config, files):
        return cls(int(files["shift.txt"]))

    @classmethod
    def train(cls, documents, vocabulary_size, options):
        return cls(sum(map(len, documents)) % 200 + 1)


@register
class StarReader(Reader):
    """Texts and labels that begin with stars: `* text | label`."""

    name = "stars"
    suffixes = (".stars",)
    magic = (b"STARS\n",)
    has_rows = True

    def documents(self, file, reading):
        for row in self.rows(file):
            yield row.fields["text"]

    def rows(self, file, labelled=True):
        with file.open() as stream:
            for number, line in enumerate(stream, 1):
                if line.startswith(b"* "):
                    text, _, label = line.decode()[2:].strip().partition(" | ")
                    yield Row(f"line {number}", {"text": text, "label": label})
