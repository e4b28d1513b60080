"""The same Transformer decoded token by token by other runtimes: PyTorch, ONNX Runtime, LiteRT-LM;
one thread each.

    python -m benchmarks.device_peers onnx-files --run RUN --output DIR
    python -m benchmarks.device_peers ours --export DIR      (also: torch --run RUN; onnx --file
    FILE;
                                                              bundle --export DIR --tflite DIR)

Each prints its decode tokens per second, and the greedy ids, which show that the weights are the
same. PyTorch and ONNX Runtime get a cache that grows by a row each step, as their users write it.

Shapes: P tokens in the cache, D width, H heads, K width of a head, V vocabulary.
"""

import argparse
import json
import os
import time
from typing import Any

import numpy as np

PROMPT = [7 + 13 * i % 500 for i in range(32)]
TOKENS = 64
REPEATS = 3


def torch_decoder(run_dir: str) -> Any:
    """A PyTorch module of one step: token (1,), past keys and values (L, H, P, K) -> logits (V,),
    keys, values."""
    import torch
    from torch import nn
    from torch.nn import functional

    from benchmarks.torch_gpt import GPT
    from tfscale.runs.folder import load_run

    network = load_run(run_dir).network
    config = network.config
    gpt = GPT(
        config.vocabulary_size,
        config.sequence_length,
        config.num_layers,
        config.num_heads,
        config.hidden_dim,
    )

    def put(parameter, weight, transpose=False):
        value = np.asarray(weight.numpy(), np.float32)
        parameter.data = torch.from_numpy(value.T.copy() if transpose else value)

    put(gpt.tokens.weight, network.token_embedding.embeddings)
    put(gpt.positions.weight, network.position_embedding.embeddings)
    put(gpt.norm.weight, network.final_norm.gamma)
    for block, ours in zip(gpt.blocks, network.blocks, strict=True):
        put(block.norm_1.weight, ours.attention_norm.gamma)
        put(block.norm_2.weight, ours.feed_forward_norm.gamma)
        put(block.query_key_value.weight, ours.attention.query_key_value.kernel, transpose=True)
        put(block.output.weight, ours.attention.output_projection.kernel, transpose=True)
        put(block.expand.weight, ours.expand.kernel, transpose=True)
        put(block.contract.weight, ours.contract.kernel, transpose=True)

    class Step(nn.Module):
        def __init__(self):
            super().__init__()
            self.gpt = gpt

        def forward(self, token, keys, values):
            heads, width = config.num_heads, config.hidden_dim
            position = keys.shape[2]
            x = self.gpt.tokens(token) + self.gpt.positions.weight[position]
            new_keys, new_values = [], []
            for index, block in enumerate(self.gpt.blocks):
                parts = block.query_key_value(block.norm_1(x)).view(3, heads, 1, width // heads)
                key = torch.cat([keys[index], parts[1]], dim=1)
                value = torch.cat([values[index], parts[2]], dim=1)
                new_keys.append(key)
                new_values.append(value)
                scores = torch.matmul(parts[0], key.transpose(1, 2)) * (width // heads) ** -0.5
                mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
                x = x + block.output(mixed.reshape(1, width))
                x = x + block.contract(functional.gelu(block.expand(block.norm_2(x))))
            logits = torch.matmul(self.gpt.norm(x), self.gpt.tokens.weight.t())
            return logits[0], torch.stack(new_keys), torch.stack(new_values)

    step = Step().eval()
    empty = torch.zeros(
        (config.num_layers, config.num_heads, 0, config.hidden_dim // config.num_heads)
    )
    return step, empty


def timed(step, empty) -> dict[str, Any]:
    """Decodes after the prompt by `step`(token, keys, values) -> logits, keys, values; all NumPy or
    all torch."""
    seconds, ids = [], []
    for _ in range(REPEATS + 1):
        keys = values = empty
        for token in PROMPT:
            logits, keys, values = step(token, keys, values)
        ids = [int(logits.argmax())]
        started = time.perf_counter()
        while len(ids) < TOKENS:
            logits, keys, values = step(ids[-1], keys, values)
            ids.append(int(logits.argmax()))
        seconds.append(time.perf_counter() - started)
    return {"decode_tokens_per_second": (TOKENS - 1) / min(seconds[1:]), "ids": ids}


def with_torch(run_dir: str) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    step, empty = torch_decoder(run_dir)
    with torch.inference_mode():
        return timed(lambda token, keys, values: step(torch.tensor([token]), keys, values), empty)


def onnx_files(run_dir: str, output: str) -> dict[str, int]:
    """Writes float.onnx, and int8.onnx by ONNX Runtime's own dynamic quantization."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    step, empty = torch_decoder(run_dir)
    one = torch.zeros((empty.shape[0], empty.shape[1], 3, empty.shape[3]))
    os.makedirs(output, exist_ok=True)
    paths = {name: os.path.join(output, f"{name}.onnx") for name in ("float", "int8")}
    torch.onnx.export(
        step,
        (torch.tensor([1]), one, one),
        paths["float"],
        opset_version=17,
        dynamo=False,
        input_names=["token", "keys", "values"],
        output_names=["logits", "new_keys", "new_values"],
        dynamic_axes={name: {2: "past"} for name in ("keys", "values")},
    )
    quantize_dynamic(paths["float"], paths["int8"], weight_type=QuantType.QInt8)
    return {name: os.path.getsize(path) for name, path in paths.items()}


def with_onnx(path: str) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    shape = next(x.shape for x in session.get_inputs() if x.name == "keys")
    empty = np.zeros((shape[0], shape[1], 0, shape[3]), np.float32)

    def step(token, keys, values):
        return session.run(None, {"token": np.array([token]), "keys": keys, "values": values})

    return timed(step, empty)


def with_ours(export: str) -> dict[str, Any]:
    import tfscale.device

    decoder = tfscale.device.load(export).decoder()

    def step(token, position, _):
        if position == 0:
            decoder.reset()
        return decoder.feed([token]), position + 1, None

    return timed(step, 0)


def with_bundle(export: str, tflite: str) -> dict[str, Any]:
    """LiteRT-LM and ours on the same prompt, both as their users call them: text in, text out."""
    import tfscale.device

    bundle, model = tfscale.device.load(export), tfscale.device.load(tflite)
    prompt = model.tokenizer.decode(PROMPT)
    rates: dict[str, list[float]] = {"litert_lm": [], "ours": []}
    texts = {}
    for _ in range(REPEATS + 1):
        for name, runner in (("litert_lm", bundle), ("ours", model)):
            done = runner.generate(prompt, TOKENS)
            texts[name] = done.text
            rates[name].append(done.tokens_per_second or 0.0)
    return {name: max(values[1:]) for name, values in rates.items()} | {
        "same_text": texts["litert_lm"] == texts["ours"]
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["ours", "torch", "onnx-files", "onnx", "bundle"])
    for name in ("run", "export", "tflite", "file", "output"):
        parser.add_argument(f"--{name}")
    options = parser.parse_args()
    result = {
        "ours": lambda: with_ours(options.export),
        "torch": lambda: with_torch(options.run),
        "onnx-files": lambda: onnx_files(options.run, options.output),
        "onnx": lambda: with_onnx(options.file),
        "bundle": lambda: with_bundle(options.export, options.tflite),
    }[options.task]()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
