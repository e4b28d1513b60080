"""model.json: the description beside every exported file, read by `tfscale.device.load`.

It lies in an export folder and in the run folder of an n-gram model. `Description` is its content;
everything that writes or reads a model.json goes through it.
"""

import dataclasses
import os
from dataclasses import dataclass, field

from tfscale import __version__
from tfscale.errors import DataError, ExportError
from tfscale.files.fields import check_fields
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_json, write_json

METADATA_FILE = "model.json"
FORMAT_VERSION = 1
_IN_EVERY_FILE = ("tokenizer", "tokenizer_digest")
_BESIDE_A_CACHE = ("context_length", "bytes_per_token")


@dataclass(frozen=True)
class _Sizes:
    """The options of a model that are read."""

    sequence_length: int | None = None
    stateful: bool = False


@dataclass(frozen=True, kw_only=True)
class Description:
    """The facts that a program needs to run an exported file.

    A name that does not concern a model stands at None and is not written. All names may be missing
    in a file but `format_version`: earlier versions of tfscale wrote fewer.

    Attributes:
        format_version: 0 where there is no model.json.
        family: model family; "task" for a fine-tuned task, "keras" for somebody's own model.
        model: the model's options, among them `sequence_length` (tokens of a window).
        context_length: most tokens of a text; None where the model carries a state instead.
        end_id: token after each document.
        start_id: token before the first one; `end_id` where it is None.
        prompt_start: ids that are read before a prompt.
        stop_ids: ids that end a completion.
        leading_space: whether a space goes before a text that is cut by `tokenizer.model` alone.
        special_tokens: text -> id of tokens such as `</s>`.
        vocabulary_size: number of tokens.
        tokenizer: folder of the tokenizer, beside the file; None where the user has one.
        tokenizer_digest: the digest of that tokenizer.
        cleaning: how texts are cleaned before they are cut; see `tfscale.text.cleaning`.
        quantize: the recipe by which weights are stored.
        format: name of the export format, which says how the file is loaded.
        file: name of the file in its folder.
        sha256: digest of the file, in hexadecimal.
        cache: name -> shape of each tensor that is carried from call to call: float32, zeros at the
            start.
        bytes_per_token: bytes of weights that a decode step reads; None where it is not known.
        prefill_lengths: tokens per call of the prompt signatures.
        embedding: of the signature `embed`, which gives hidden states: its `name`, and `length`
            (tokens of a call) and `width` of the states; None where the file has none.
        document_mask: whether the documents of a stream are scored each by itself, as the model was
            trained.
        cloze: whether logits at t are of token t + 1 from the tokens on both sides of it.
        tfscale_version: the version that wrote it.
        more: what a task or a format of somebody's own adds; written beside the names above.

    Example:
        description = read_description("export")
        description.model["sequence_length"]
    """

    format_version: int = FORMAT_VERSION
    family: str = ""
    model: JsonObject = field(default_factory=dict)
    context_length: int | None = None
    end_id: int | None = None
    start_id: int | None = None
    prompt_start: list[int] | None = None
    stop_ids: list[int] | None = None
    leading_space: bool | None = None
    special_tokens: dict[str, int] | None = None
    vocabulary_size: int | None = None
    tokenizer: str | None = None
    tokenizer_digest: str | None = None
    cleaning: JsonObject = field(default_factory=dict)
    quantize: str = ""
    format: str = ""
    file: str = ""
    sha256: str = ""
    cache: dict[str, list[int]] | None = None
    bytes_per_token: int | None = None
    prefill_lengths: list[int] | None = None
    embedding: JsonObject | None = None
    document_mask: bool | None = None
    cloze: bool | None = None
    tfscale_version: str = ""
    more: JsonObject = field(default_factory=dict)

    @property
    def window(self) -> int | None:
        """Tokens of a training window; None where the file does not say."""
        length = self.model.get("sequence_length")
        return length if isinstance(length, int) else None

    def to_dict(self) -> JsonObject:
        """Returns the content of model.json: the names that concern this model; {} for none."""
        if not self.format_version:
            return {}
        named = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)
            if item.name != "more"
        }
        nulls = {*_IN_EVERY_FILE, *(_BESIDE_A_CACHE if self.cache is not None else ())}
        kept = {
            name: value
            for name, value in named.items()
            if name in nulls or (value is not None and value != {} and value != "")
        }
        return kept | self.more

    def write(self, folder: str) -> "Description":
        """Writes model.json into a folder; returns it with the version of tfscale that did so."""
        signed = dataclasses.replace(self, tfscale_version=__version__)
        write_json(os.path.join(folder, METADATA_FILE), signed.to_dict())
        return signed


def read_description(folder: str) -> Description:
    """Reads the model.json of a folder; everything is unknown where there is none.

    Raises:
        ExportError: it is damaged, or another version of tfscale wrote it in another form.
    """
    path = os.path.join(folder, METADATA_FILE)
    if not os.path.exists(path):
        return Description(format_version=0)
    try:
        content = read_json(path, "the export's description")
    except DataError as error:
        raise ExportError(str(error)) from error
    version = content.get("format_version") if isinstance(content, dict) else type(content).__name__
    if version != FORMAT_VERSION:
        raise ExportError(
            f"{path} has format_version {version!r}; this version of tfscale reads {FORMAT_VERSION}"
        )
    return parse_description(content, path)


def parse_description(content: JsonObject, where: str) -> Description:
    """Returns the description that a mapping holds.

    Args:
        content: what a model.json holds.
        where: the file, for the error.

    Raises:
        ExportError: a value of another type, or a file name that leads out of the folder.
    """
    names = {item.name for item in dataclasses.fields(Description)} - {"more"}
    known = {name: value for name, value in content.items() if name in names}
    check_fields(_Sizes, known.get("model", {}), f"{where}: model", ExportError, others=True)
    check_fields(Description, known, where, ExportError)
    for name in ("file", "tokenizer"):
        if (named := known.get(name)) and os.path.basename(named) != named:
            raise ExportError(
                f"{where}: {name} should be a name in the same folder; received {named!r}"
            )
    more = {name: value for name, value in content.items() if name not in names}
    return Description(**known, more=more)
