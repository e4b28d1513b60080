"""A `.litertlm` bundle: the .tflite file, its tokenizer and what LiteRT-LM must know, in the one
file that it runs.

LiteRT-LM (https://github.com/google-ai-edge/LiteRT-LM) runs language models on Android, iOS,
desktops and the web. It takes files with key-value caches, so a Transformer of ours; and tokenizers
of SentencePiece or Hugging Face's library.
"""

import os

from tfscale.device import load
from tfscale.device.bundle import BundleModel
from tfscale.errors import ExportError
from tfscale.exporting.chat_template import PLAIN_TEXT
from tfscale.exporting.comparison import GREEDY_TOKENS
from tfscale.exporting.report import Checks, Report
from tfscale.exporting.tflite import DecodingNetwork
from tfscale.files.scratch import scratch_folder, scratch_writes
from tfscale.inference.generation import Generation
from tfscale.models.capability import capabilities
from tfscale.registry import TOKENIZERS
from tfscale.text.tokenizers import Tokenizer

TOP_P = 2
"""The sampler that every version of LiteRT-LM has on CPUs; with k = 1 it is greedy."""


def check_bundle(network: DecodingNetwork, tokenizer: Tokenizer) -> None:
    """Refuses what LiteRT-LM cannot run, before anything is converted.

    Raises:
        ExportError: a model without key-value caches, or a tokenizer that LiteRT-LM has no form
            for.
    """
    can = capabilities(network)
    if can.decodes != "cache":
        raise ExportError(
            "a .litertlm bundle needs a model with key-value caches, and one of the family"
            f" {network.config.family} has none; export it with format tflite"
        )
    others = [name for name in network.cache_spec() if not name.startswith("kv_cache_")]
    if can.one_token or others:
        raise ExportError(
            "a .litertlm bundle holds key-value caches alone, and this model also carries"
            f" {', '.join(others[:3])}; export it with format tflite"
        )
    if tokenizer.bundled_as is None:
        kinds = ", ".join(kind.kind for kind in TOKENIZERS if kind.bundled_as)
        raise ExportError(
            f"LiteRT-LM has no tokenizer of kind {tokenizer.kind}: it takes {kinds}; export with"
            " --format tflite, or train on data prepared with one of these"
        )
    try:
        import litert_lm  # noqa: F401 - the bundle is run before it is handed out
        import litert_lm_builder  # noqa: F401
    except ImportError as error:
        raise ExportError(
            f"--format litertlm needs {error.name}: pip install 'tfscale[litertlm]'"
        ) from error


def build_bundle(
    tflite_path: str,
    tokenizer: Tokenizer,
    context_length: int,
    output: str,
    template: str = PLAIN_TEXT,
) -> None:
    """Writes the bundle of a .tflite file.

    Args:
        tflite_path: file with the signatures `decode` and `prefill_*`.
        tokenizer: the model's; see `check_bundle`.
        context_length: tokens that the cache holds.
        output: the .litertlm file to write.
        template: makes a prompt of a chat, in Jinja.
    """
    from litert_lm_builder import litertlm_builder as builder

    with scratch_folder("tfscale-bundle-") as folder:

        def write(name: str, content: bytes) -> str:
            path = os.path.join(folder, name)
            with scratch_writes(), open(path, "wb") as file:
                file.write(content)
            return path

        bundle = builder.LitertLmFileBuilder()
        bundle.add_system_metadata(
            builder.Metadata(key="Authors", value="tfscale", dtype=builder.DType.STRING)
        )
        bundle.add_llm_metadata(
            write("metadata.pb", _metadata(tokenizer, context_length, template))
        )
        bundle.add_tflite_model(tflite_path, builder.TfLiteModelType.PREFILL_DECODE)
        if tokenizer.bundled_as == "sentencepiece":
            bundle.add_sentencepiece_tokenizer(write("tokenizer.model", tokenizer.bundle_file()))
        else:
            bundle.add_hf_tokenizer(write("tokenizer.json", tokenizer.bundle_file()))
        with open(output, "wb") as file:
            bundle.build(file)


def compare_bundle(checks: Checks, report: Report, folder: str, bundle: str) -> None:
    """Runs a bundle by LiteRT-LM and checks that it reads and writes the same as its .tflite file.

    Args:
        checks: receives the compared values.
        report: holds the greedy completion of the .tflite file; that of the bundle is added.
        folder: holds model.tflite with its description and tokenizer.
        bundle: the .litertlm file.
    """
    file = load(folder)
    tokenizer, prompt = file.tokenizer, report["greedy"]["prompt"]
    # LiteRT-LM ends a token earlier where the context is full.
    room = (file.context_length or 0) - len(tokenizer.prompt_ids(tokenizer.encode(prompt)))
    count = max(1, min(GREEDY_TOKENS, room))
    expected = file.generate(prompt, count)
    del file  # Two runtimes at a time would hold the weights twice.
    bundled = BundleModel(bundle)
    written = bundled.generate(prompt, count)
    same_ids = bundled.tokenize(prompt) == tokenizer.encode(prompt)
    checks.add("bundle_ids_equal", int(same_ids), "==", 1)
    same_text = is_completion(tokenizer, expected, written.text)
    checks.add("bundle_text_equal", int(same_text), "==", 1)
    report["greedy"]["bundle"] = written.text


def is_completion(tokenizer: Tokenizer, expected: Generation, written: str) -> bool:
    """Returns whether LiteRT-LM may write a text for the tokens of a completion.

    It makes a text of the tokens as of those of a whole text, without what stood before: where the
    first word of a text is read with a space before it, that of a completion's first piece is taken
    away, and bytes that are no character become signs as the tokenizer's library makes them. It
    shows special tokens of SentencePiece by their names.

    Args:
        tokenizer: that of the bundle.
        expected: the completion by the file in the bundle, whose text shows no special tokens.
        written: the text of LiteRT-LM.
    """
    texts = {expected.text, tokenizer.decode(expected.tokens)}
    if tokenizer.special.leading_space:
        texts.add(expected.text.removeprefix(" "))
    unnamed = written
    for name in tokenizer.special_tokens:
        unnamed = unnamed.replace(name, "")
    return written in texts or unnamed in texts


def _metadata(tokenizer: Tokenizer, context_length: int, template: str = PLAIN_TEXT) -> bytes:
    from litert_lm_builder.runtime.proto import llm_metadata_pb2

    metadata = llm_metadata_pb2.LlmMetadata()
    if tokenizer.prompt_start:
        metadata.start_token.token_ids.ids.extend(tokenizer.prompt_start)
    for stop in tokenizer.stop_ids:
        metadata.stop_tokens.add().token_ids.ids.append(stop)
    metadata.max_num_tokens = context_length
    metadata.llm_model_type.generic_model.SetInParent()
    metadata.sampler_params.type = TOP_P
    metadata.sampler_params.k = 1
    metadata.sampler_params.p = 0.0
    metadata.sampler_params.temperature = 1.0
    metadata.supports_thinking = metadata.supports_function_calling = False
    metadata.jinja_prompt_template = template
    return metadata.SerializeToString()
