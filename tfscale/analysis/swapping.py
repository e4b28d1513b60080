"""`tfscale swap`: counterfactual swaps of words, by any model that scores texts."""

from collections.abc import Sequence

from tfscale.analysis.slicing import Scorer
from tfscale.analysis.swaps import Pair, read_pairs, swap_ratios
from tfscale.config.tasks import SwapConfig
from tfscale.errors import DataError
from tfscale.files.json_text import JsonObject
from tfscale.tasks.examples import file_texts
from tfscale.text.corpora import find_text
from tfscale.text.tokenizers import Tokenizer


def swap(score: Scorer, tokenizer: Tokenizer, config: SwapConfig) -> JsonObject:
    """Returns the log-likelihood ratio of each pair of words over texts that hold one.

    Args:
        score: gives the likelihood of each text.
        tokenizer: the model's.
        config: the texts and the pairs.

    Returns:
        The result of `tfscale.analysis.swaps.swap_ratios`, with `metric`: "log_likelihood_ratio",
        of a cloze model "pseudo_log_likelihood_ratio" (Salazar et al. 2020); and of each pair
        `unknown`, its words that the model's vocabulary lacks: their ratio says nothing about them.

    Raises:
        DataError: files that cannot be read, or texts without any of the words.

    Example:
        swap(score, tokenizer, SwapConfig(text=["texts.txt"], pairs="pairs.tsv"))["pairs"]
    """
    pairs, texts = read_swap_files(config)
    cloze = False

    def log_likelihoods(wanted: Sequence[str]) -> list[float]:
        nonlocal cloze
        scored = score(wanted)
        cloze = scored.cloze
        return [-nll for nll, _ in scored.scores]

    result = swap_ratios(texts, pairs, log_likelihoods, config.seed)
    for pair in result["pairs"]:
        pair["unknown"] = [pair[side] for side in "ab" if _is_unknown(tokenizer, pair[side])]
    return {"metric": f"{'pseudo_' if cloze else ''}log_likelihood_ratio", **result}


def read_swap_files(config: SwapConfig) -> tuple[list[Pair], list[str]]:
    """Reads the pairs of words, and the texts: those of examples, or the lines of .txt files.

    Raises:
        DataError: a file that cannot be read, or has none.
    """
    pairs = read_pairs(config.pairs)
    texts: list[str] = []
    for path in config.text:
        files = find_text([path])
        found = [text for file in files for text in file_texts(file, config.text_field)]
        if not found:
            raise DataError(f"{path} has no texts")
        texts += found
    return pairs, texts


def _is_unknown(tokenizer: Tokenizer, word: str) -> bool:
    return tokenizer.unknown_id is not None and tokenizer.unknown_id in tokenizer.encode(
        tokenizer.cleaner(word)
    )
