"""Runs a `.litertlm` bundle by LiteRT-LM's own runtime, `litert-lm-api`."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tfscale.config import SamplingConfig
from tfscale.device.model import Ability, ExportedFile, ExportedModel
from tfscale.device.structure import check_structure
from tfscale.errors import ConfigError, ExportError, PromptError
from tfscale.files.description import Description
from tfscale.inference.generation import Generation
from tfscale.text.cleaning import Cleaner
from tfscale.text.tokenizers.special import split_at_special

if TYPE_CHECKING:
    from litert_lm_builder.runtime.proto.llm_metadata_pb2 import LlmMetadata

MAGIC = b"LITERTLM"
_ALL = 1_000_000
"""More tokens than any vocabulary has."""
_SEEDS = 2**31 - 1
"""Seeds from 1 on of its generator, below."""
_AS_IT_IS = Cleaner()
_UNDESCRIBED = Description(format_version=0)


class BundleModel(ExportedModel):
    """A bundle with its engine; made by `tfscale.device.load`.

    Args:
        path: the .litertlm file.
        threads: CPU threads.
        description: the content of model.json beside the file, which names the special tokens.
        cleaner: how prompts are cleaned, which the runtime does not do.

    Raises:
        ExportError: the file is missing, not a bundle, or cannot be run, or `litert-lm-api` is not
            installed.
    """

    abilities: frozenset[Ability] = frozenset({"generate"})
    form = "bundle"

    def __init__(
        self,
        path: str,
        threads: int = 1,
        description: Description = _UNDESCRIBED,
        cleaner: Cleaner = _AS_IT_IS,
    ):
        super().__init__(path, None, description, threads)
        metadata = read_bundle(path)
        self.context_length = metadata.max_num_tokens
        """Tokens of prompt and completion together."""
        self._special = dict(description.special_tokens or {})
        self._start = list(metadata.start_token.token_ids.ids)
        stops = {id for stop in metadata.stop_tokens for id in stop.token_ids.ids}
        self._special_ids = {*self._special.values(), *self._start, *stops}
        try:
            import litert_lm
        except ImportError as error:
            raise ExportError(f"{path} runs by LiteRT-LM: pip install litert-lm-api") from error
        self._api, self._cleaner = litert_lm, cleaner
        self._lock = threading.RLock()
        litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
        try:
            # Without ":nocache" a cache file would appear beside the bundle.
            backend = litert_lm.Backend.CPU(thread_count=threads)
            self._engine = litert_lm.Engine(
                os.fspath(path), backend=backend, cache_dir=":nocache", enable_benchmark=True
            )
        except (RuntimeError, ValueError) as error:
            raise ExportError(
                f"{path} cannot be run by LiteRT-LM: {str(error).splitlines()[0]}"
            ) from error

    @classmethod
    def open(cls, file: ExportedFile) -> "BundleModel":
        file.check_digest()
        return cls(file.path, file.threads, file.description, file.cleaner())

    def tokenize(self, text: str) -> list[int]:
        """Ids of a text by the bundle's own tokenizer, without the start token."""
        return list(self._engine.tokenize(text))

    def render(self, chat: Sequence[Mapping[str, str]]) -> str:
        """Returns the prompt of a chat by the bundle's template; "" where it cannot be made.

        Args:
            chat: messages with `role` and `content`; the last one is the user's.
        """
        with (
            self._lock,
            self._engine.create_conversation(messages=list(chat[:-1])) as conversation,
        ):
            return conversation.render_message_to_string(chat[-1])

    def generate(
        self,
        prompt: str,
        max_tokens: int = 64,
        sampling: SamplingConfig | None = None,
        stop: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
        parse_special: bool = False,
    ) -> Generation:
        """Completes `prompt`; as `tfscale.inference.generation.generate`, as far as LiteRT-LM has
        it.

        Raises:
            ConfigError: a repetition penalty or stop strings, which this runtime is not given; or a
                special token in the prompt that this runtime reads otherwise than `parse_special`
                asks for.
            PromptError: the prompt does not fit into the context.
        """
        sampling = sampling or SamplingConfig()
        if max_tokens < 1:
            raise ConfigError(f"max_tokens={max_tokens!r} is out of range; expected 1 or more")
        if sampling.repetition_penalty != 1 or stop:
            raise ConfigError(
                "stop and repetition_penalty are not for a .litertlm bundle; give the .tflite file"
            )
        greedy = sampling.temperature == 0
        config = self._api.SamplerConfig(
            # Its whole numbers have 32 bits.
            top_k=1 if greedy else min(sampling.top_k or _ALL, _ALL),
            top_p=0.0 if greedy else sampling.top_p,
            temperature=1.0 if greedy else sampling.temperature,
            # Its generator begins with 0 as with 1.
            seed=sampling.seed % (_SEEDS - 1) + 1,
        )
        prompt = self._cleaner.beginning(prompt)
        ids = self.tokenize(prompt)
        self._check_special(prompt, ids, parse_special)
        prompt_tokens = len(ids) + len(self._start)
        if not prompt_tokens:
            raise PromptError(
                "the prompt is empty and the model has no start token, so that LiteRT-LM has none"
                " to read; give a text, or the .tflite file"
            )
        if prompt_tokens >= self.context_length:
            raise PromptError(
                f"the prompt has {len(ids)} tokens; the model's context of {self.context_length}"
                f" takes at most {self.context_length - 1 - len(self._start)} here"
            )
        with self._lock:
            most = min(max_tokens, self.context_length)
            pieces, drawn, rate = self._complete(prompt, config, most, on_text)
        full = prompt_tokens + drawn >= self.context_length
        ended = "length" if drawn >= max_tokens else "context" if full else "end"
        return Generation("".join(pieces), prompt_tokens, [], rate if drawn else None, ended, drawn)

    def _complete(
        self, prompt: str, config: object, max_tokens: int, on_text: Callable[[str], None] | None
    ) -> tuple[list[str], int, float]:
        """Completes a prompt in a session of its own.

        Returns:
            The pieces, the number of tokens that were drawn, and how many a second.
        """
        session = self._engine.create_session(
            apply_prompt_template=False, sampler_config=config, max_output_tokens=max_tokens
        )
        pieces: list[str] = []
        try:
            session.run_prefill([prompt])
            for response in session.run_decode_async():
                pieces += response.texts[:1]
                if on_text is not None and response.texts:
                    on_text(response.texts[0])
            # The engine does not report how it cut its own text, and the text cut anew may have
            # other tokens: it counts them.
            counts = session.get_benchmark_info()
            return pieces, counts.last_decode_token_count, counts.last_decode_tokens_per_second
        except RuntimeError as error:
            raise PromptError(
                f"LiteRT-LM refuses the prompt: {str(error).splitlines()[0]}"
            ) from error
        finally:
            session.close()

    def _check_special(self, prompt: str, ids: list[int], parse_special: bool) -> None:
        """Refuses a prompt whose special tokens the bundle's tokenizer reads in another way."""
        read = [id for id in ids if id in self._special_ids]
        if not parse_special and read:
            raise ConfigError(
                f"a .litertlm bundle reads the text of a special token (id {read[0]}) in the"
                " prompt as that token; ask for it with parse_special, or give the .tflite file"
            )
        if parse_special and self._special:
            meant = [
                part for part in split_at_special(prompt, self._special) if isinstance(part, int)
            ]
            if read != meant:
                texts = {id: text for text, id in self._special.items()}
                missing = next(
                    (texts[id] for id in meant if meant.count(id) != read.count(id)),
                    texts[meant[0]],
                )
                raise ConfigError(
                    f"a .litertlm bundle does not read {missing!r} in a prompt as a token; leave it"
                    " out (the start token is put before every prompt), or give the .tflite file"
                )


def read_bundle(path: str) -> "LlmMetadata":
    """Returns the description of the model in a bundle, which is checked to be whole.

    Returns:
        LiteRT-LM's `LlmMetadata`.

    Raises:
        ExportError: the file is missing, is not a bundle, is truncated, or lacks its model or its
            tokenizer; or `litert-lm-builder`, which reads its header, is not installed.
    """
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(32)
            if head[:8] != MAGIC:
                raise ExportError(
                    f"{path} is not a .litertlm bundle: it begins with {head[:8]!r}, not {MAGIC!r}"
                )
            end = int.from_bytes(head[24:32], "little")
            header = file.read(end - 32) if 32 < end <= size else b""
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}; name a .litertlm file") from error
    try:
        from google.protobuf.message import DecodeError
        from litert_lm_builder import litertlm_header_schema_py_generated as schema
        from litert_lm_builder.runtime.proto import llm_metadata_pb2
    except ImportError as error:
        raise ExportError(
            f"{path} needs LiteRT-LM: pip install litert-lm-api litert-lm-builder"
        ) from error
    kinds = schema.AnySectionDataType
    try:
        listed = schema.LiteRTLMMetaData.GetRootAs(header, 0).SectionMetadata()
        sections = [listed.Objects(index) for index in range(listed.ObjectsLength())]
        places = {
            section.DataType(): (section.BeginOffset(), section.EndOffset()) for section in sections
        }
    except Exception as error:  # Whatever reading beyond a buffer's end raises.
        raise ExportError(f"{path} is truncated or damaged: its header cannot be read") from error
    last = max((end for _, end in places.values()), default=0)
    if size < last:
        raise ExportError(f"{path} is truncated: it has {size:,} of {last:,} bytes")
    if kinds.TFLiteModel not in places or kinds.LlmMetadataProto not in places:
        raise ExportError(f"{path} has no language model in it")
    if not {kinds.SP_Tokenizer, kinds.HF_Tokenizer_Zlib} & set(places):
        raise ExportError(f"{path} has no tokenizer in it; export the run again")
    for section in sections:
        if section.DataType() == kinds.TFLiteModel:
            check_structure(path, section.BeginOffset(), section.EndOffset())
    begin, end = places[kinds.LlmMetadataProto]
    with open(path, "rb") as file:
        file.seek(begin)
        try:
            return llm_metadata_pb2.LlmMetadata.FromString(file.read(end - begin))
        except DecodeError as error:
            raise ExportError(
                f"{path} is damaged: the description of its model cannot be read"
            ) from error
