"""The README.md of an export folder: what the file expects, and code that runs it."""

from typing import Any

_HEAD = """# {name}

A language model for LiteRT (TensorFlow Lite), made by tfscale {version}.

| | |
|---|---|
| Model | {family}, {parameters:,} parameters, weights {weights} |
| File | `{file}`, {file_bytes:,} bytes ({gzip_bytes:,} compressed by gzip) |
| Context | {context} |
| Vocabulary | {vocabulary:,} tokens ({tokenizer_kind}, in `tokenizer/`); {ends} |
| Perplexity | {perplexity_file:.4g} here, {perplexity_keras:.4g} in Keras ({held_out}) |

`parity.json` and `report.html` say how the file was compared with the network it was made from, with the XNNPACK
kernels that phones use (xnnpack) and without them (plain).
`model.json` holds the figures that a program needs.

## Run it with tfscale

`tfscale.device` needs NumPy, ai-edge-litert and the tokenizer's library, and neither TensorFlow nor Keras:

```python
import tfscale.device

model = tfscale.device.load(".")
print(model.generate({prompt!r}, max_tokens=40).text)
```
"""

_TRANSFORMER = """
## Run it with ai-edge-litert alone, or from an app

The signatures are `decode` (one token) and {prefills} (a piece of the prompt).

| tensor | type and shape | |
|---|---|---|
| `tokens` | int32 (1, S) | S = 1 for `decode` |
| `input_pos` | int32 (S,) | consecutive positions, from 0 to {last} |
| `mask` | float32 (1, 1, S, {length}) | 0 where a position may be seen (up to the token's own), -10000 elsewhere |
| `kv_cache_k_0` ... | float32 {cache} | zeros at the start; each call returns the new ones |
| `logits` | float32 (1, 1, {vocabulary}) | from `decode` only |

Feed all tokens of a prompt but the last through `prefill_S` (or `decode`) and the last one through `decode`, whose
logits are those of the first new token.

The pad rule: a prefill call may run past the prompt (fill `tokens` with any id): what it writes there is hidden by the
mask and overwritten by the tokens that follow. But position + S must not exceed {length}: the write would be
shifted back over earlier tokens. Near the end of the context use a shorter prefill, or `decode`.

```python
import json

import numpy as np
from ai_edge_litert.interpreter import Interpreter

with open("model.json") as file:
    info = json.load(file)
decode = Interpreter("model.tflite").get_signature_runner("decode")
cache = {{name: np.zeros(shape, np.float32) for name, shape in info["cache"].items()}}
mask = np.full((1, 1, 1, info["context_length"]), -1e4, np.float32)
ids = {ids}  # {begun}
position = 0
for step in range(min(len(ids) + 20, info["context_length"])):
    mask[..., position] = 0
    outputs = decode(
        tokens=np.array([[ids[position]]], np.int32), input_pos=np.array([position], np.int32), mask=mask, **cache
    )
    logits = outputs.pop("logits")[0, 0]
    cache = outputs
    position += 1
    if position == len(ids):
        ids.append(int(logits.argmax()))
print(ids)
```
"""

_RECURRENT = """
## Run it with ai-edge-litert alone, or from an app

The one signature is `decode`: `tokens` int32 (1, 1) and the state, float32 {cache} each, zeros at the start:
{states}; it returns the new state and `logits` float32 (1, 1, {vocabulary}). The file keeps nothing between calls:
hand the returned state to the next call, and zeros to begin anew.

```python
import json

import numpy as np
from ai_edge_litert.interpreter import Interpreter

with open("model.json") as file:
    info = json.load(file)
decode = Interpreter("model.tflite").get_signature_runner("decode")
state = {{name: np.zeros(shape, np.float32) for name, shape in info["cache"].items()}}
ids = {ids}  # {begun}
position = 0
for step in range(len(ids) + 20):
    outputs = decode(tokens=np.array([[ids[position]]], np.int32), **state)
    logits = outputs.pop("logits")[0, 0]
    state = outputs
    position += 1
    if position == len(ids):
        ids.append(int(logits.argmax()))
print(ids)
```
"""

_WEIGHTS = {
    "none": "float32",
    "float16": "float16 (computed in float32)",
    "int8": "int8 (matrix products computed in int8)",
    "int4": "int4 in blocks, embedding tables int8",
    "int4_all": "int4 in blocks",
}


_BUNDLE = """# {name}

A language model for LiteRT-LM, made by tfscale {version}: `{file}` holds the network and its tokenizer.

| | |
|---|---|
| Model | {family}, {parameters:,} parameters, weights {weights} |
| File | `{file}`, {bundle_bytes:,} bytes |
| Context | {context} |
| Vocabulary | {vocabulary:,} tokens ({tokenizer_kind}) |
| Perplexity | {perplexity_file:.4g} here, {perplexity_keras:.4g} in Keras ({held_out}) |

`parity.json` and `report.html` say how it was compared with the network it was made from.

```python
import litert_lm  # pip install litert-lm-api

engine = litert_lm.Engine({file!r}, backend=litert_lm.Backend.CPU(), cache_dir=":nocache")
session = engine.create_session(apply_prompt_template=False)
session.run_prefill([{prompt!r}])
print(session.run_decode().texts[0])
```

It continues text and knows no roles: in LiteRT-LM's other languages, too, use a session without a prompt template.
"""

_SAVED_MODEL = """# {name} as a SavedModel

Made by tfscale {version}. It loads in TensorFlow 2.20 or later, without tfscale and Keras. TensorFlow Serving
reads a folder per version: `cp -r saved_model MODEL_DIR/1`.

| | |
|---|---|
| Model | {family}, {parameters:,} parameters, float32 |
| Context | {context} |
| Vocabulary | {vocabulary:,} tokens ({tokenizer_kind}, in `tokenizer/`); {ends} |
| Perplexity | {perplexity_file:.4g} here, {perplexity_keras:.4g} in Keras ({held_out}) |

`score` (also the default signature) takes `tokens` int32 (B, T) and returns `logits` (B, T, {vocabulary}) and
`nll` (B, T - 1): the nats of each token but the first, given those before it.
The other signatures, {signatures}, read one sequence with a cache: `model.json` holds the caches' shapes. They are
zeros at the start, and each call returns those for the next one.

```python
import tensorflow as tf

model = tf.saved_model.load("saved_model")
ids = {ids}  # {begun}
print(model.signatures["score"](tokens=tf.constant([ids]))["nll"])
```
"""


_WEB = """
## Run it in the browser

`index.html` completes what is typed into it; serve this folder, which needs nothing from elsewhere:

```sh
python -m http.server --bind 127.0.0.1 --directory .
```
"""


def readme(
    metadata: dict[str, Any],
    parity: dict[str, Any],
    *,
    parameters: int,
    tokenizer_kind: str,
    prompt: str,
    prompt_ids: list[int],
) -> str:
    """The text of README.md.

    Args:
        metadata: the content of model.json.
        parity: the content of parity.json.
        parameters: trainable weights of the network.
        tokenizer_kind: the tokenizer's kind.
        prompt: text of the example.
        prompt_ids: the start token and the ids of `prompt`.
    """
    context = metadata["context_length"]
    values = {
        "name": f"{metadata['family'].capitalize()} language model",
        "version": metadata["tfscale_version"],
        "family": metadata["family"],
        "parameters": parameters,
        "weights": _WEIGHTS[metadata["quantize"]],
        "file": metadata["file"],
        "file_bytes": parity["sizes"]["file_bytes"],
        "gzip_bytes": parity["sizes"].get("gzip_bytes", 0),
        "context": f"{context:,} tokens" if context else "without bound (carried state)",
        "vocabulary": metadata["vocabulary_size"],
        "tokenizer_kind": tokenizer_kind,
        "ends": _ends(metadata),
        "begun": _begun(metadata, prompt),
        "perplexity_file": parity["perplexity"]["file"],
        "perplexity_keras": parity["perplexity"]["keras"],
        "held_out": parity["held_out"]["source"],
        "prompt": prompt,
        "ids": prompt_ids,
        "cache": tuple(next(iter(metadata["cache"].values()))),
        "states": ", ".join(f"`{name}`" for name in metadata["cache"]),
        "prefills": ", ".join(f"`prefill_{n}`" for n in metadata["prefill_lengths"]) or "no other",
        "length": context,
        "last": (context or 1) - 1,
    }
    if metadata["format"] == "saved_model":
        values["signatures"] = ", ".join(
            f"`{name}`" for name in sorted(parity["signatures"]) if "s" != name[0]
        )
        return _SAVED_MODEL.format(**values)
    if metadata["format"] == "litertlm":
        return _BUNDLE.format(**values, bundle_bytes=parity["sizes"]["bundle_bytes"])
    page = _WEB if metadata["format"] == "web" else ""
    body = _HEAD + page + (_TRANSFORMER if metadata["family"] == "transformer" else _RECURRENT)
    return body.format(**values)


def _ends(metadata: dict[str, Any]) -> str:
    """What stands before and after a text, in words."""
    end, start, stops = metadata["end_id"], metadata["start_id"], metadata["stop_ids"]
    if not metadata["prompt_start"]:
        begins = "nothing stands before a prompt"
    elif start == end:
        begins = f"id {start} ends a document and begins a prompt"
    else:
        begins = f"id {start} begins a prompt, id {end} ends a document"
    named = [f"id {stop}" for stop in stops if stop != end]
    if named:
        return f"{begins}; {', '.join(named)} ends a completion too"
    return begins if metadata["prompt_start"] else f"{begins}, id {end} ends a document"


def _begun(metadata: dict[str, Any], prompt: str) -> str:
    if not metadata["prompt_start"] and prompt:
        return repr(prompt)
    return (
        f"the {'end' if metadata['start_id'] == metadata['end_id'] else 'start'} token, then"
        f" {prompt!r}"
    )
