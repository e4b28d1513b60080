"""How fast text becomes tokens in the form of nanoGPT's `prepare.py`: `datasets.map`, then a file
of tokens for each split.

    python -m benchmarks.prepare_peer tokenizer --text FILE --tokenizer DIR
    python -m benchmarks.prepare_peer map --text FILE --tokenizer DIR
    python -m benchmarks.prepare_peer batched --text FILE --tokenizer DIR

`tokenizer` trains byte-pair encoding by the library `tokenizers`, and saves it as tfscale loads it.
`map` times what nanoGPT's data/openwebtext/prepare.py does, with that tokenizer instead of
tiktoken's, a document a line, and as many processes as cores: load the text, split it, encode each
document by a call of `datasets.map`, write `train.bin` and `val.bin`. `batched` gives `map` 1,000
documents a call, which nanoGPT does not. Imports are not timed; the figure is per core and without
end tokens, as that of `benchmarks.prepare_side whole`.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

END, VOCABULARY_SIZE = "<|endoftext|>", 8192
_WRITES = 1024
"""In how many parts nanoGPT writes a file."""


def train(text: str, folder: str) -> None:
    """Trains a tokenizer, and saves it."""
    import tokenizers

    from tfscale.text.tokenizers.kinds.bpe import BytePairTokenizer

    library = tokenizers.ByteLevelBPETokenizer()
    library.train([text], VOCABULARY_SIZE, show_progress=False, special_tokens=[END])
    with tempfile.TemporaryDirectory() as saved:
        library.save_model(saved)
        vocabulary = json.loads(Path(saved, "vocab.json").read_text("utf-8"))
        merges = Path(saved, "merges.txt").read_text("utf-8").splitlines()
    BytePairTokenizer.from_merges(vocabulary, merges, END).save(folder)


def nanogpt(text: str, tokenizer_dir: str, batched: bool) -> tuple[int, float]:
    """Tokens, and seconds times the cores."""
    import datasets
    import tokenizers

    from tfscale.data.writing import cores

    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(tokenizer_dir, "tokenizer.json"))
    end = tokenizer.token_to_id(END)

    def process(example: dict[str, str]) -> dict[str, object]:
        ids = [*tokenizer.encode(example["text"]).ids, end]
        return {"ids": ids, "len": len(ids)}

    def process_all(examples: dict[str, list[str]]) -> dict[str, list[object]]:
        ids = [[*found.ids, end] for found in tokenizer.encode_batch_fast(examples["text"])]
        return {"ids": ids, "len": list(map(len, ids))}

    datasets.disable_progress_bars()
    processes = cores()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        loaded = datasets.load_dataset("text", data_files=text, cache_dir=folder, split="train")
        splits = loaded.train_test_split(test_size=0.0005, seed=2357, shuffle=True)
        tokenized = splits.map(
            process_all if batched else process,
            batched=batched,
            remove_columns=["text"],
            num_proc=processes,
        )
        tokens = documents = 0
        for split, name in (("train", "train.bin"), ("test", "val.bin")):
            tokens += write(tokenized[split], os.path.join(folder, name))
            documents += len(tokenized[split])
        seconds = time.perf_counter() - began
    return tokens - documents, seconds * processes


def write(dataset, path: str) -> int:  # type: ignore[no-untyped-def]
    """Writes the tokens of a split as nanoGPT does; returns their number.

    `[:]` is new: since datasets 4 a column by its name alone is read an example at a time.
    """
    dataset = dataset.with_format("numpy")
    count = int(np.sum(dataset[:]["len"], dtype=np.uint64))
    array = np.memmap(path, np.uint16, "w+", shape=(count,))
    parts = min(_WRITES, len(dataset))
    start = 0
    for number in range(parts):
        ids = np.concatenate(dataset.shard(parts, number, contiguous=True)[:]["ids"])
        array[start : start + len(ids)] = ids
        start += len(ids)
    array.flush()
    return count


def main() -> None:
    """Runs the task that is named, and prints its rate as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=("tokenizer", "map", "batched"))
    parser.add_argument("--text", required=True)
    parser.add_argument("--tokenizer", required=True)
    options = parser.parse_args()
    # Nothing is looked up in the network, and each process encodes in one thread.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    if options.task == "tokenizer":
        train(options.text, options.tokenizer)
        print(json.dumps({"vocabulary_size": VOCABULARY_SIZE}))
        return
    tokens, seconds = nanogpt(options.text, options.tokenizer, options.task == "batched")
    print(json.dumps({"tokens": tokens, "seconds": seconds, "tokens_per_second": tokens / seconds}))


if __name__ == "__main__":
    main()
