"""Beam search, which looks for the likeliest text by a few hypotheses. NumPy only.

Shapes: n hypotheses, V vocabulary.
"""

from collections.abc import Callable, Sequence

import numpy as np


def beam_search(
    step: Callable[[Sequence[int], Sequence[int]], np.ndarray],
    beams: int,
    length: int,
    ends: Sequence[int],
) -> list[int]:
    """Writes a text by beam search (Graves 2012; Sutskever et al. 2014).

    A hypothesis is scored by the mean log-likelihood of its tokens, its end token included; a plain
    sum would prefer short ones. The search ends when as many hypotheses have ended as there are
    beams. With one beam it is greedy.

    Args:
        step: reads one more token of each hypothesis: the tokens (n,) and, for each, the number of
            the hypothesis of the call before that it goes on with -> logits (n, V). The first call
            has the end token and number 0.
        beams: most hypotheses that are kept.
        length: most tokens that are written.
        ends: the tokens that end a text; the first of them is read before it.

    Returns:
        The tokens, without the one that ended them.

    Example:
        beam_search(step, beams=4, length=32, ends=tokenizer.stop_ids)
    """
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    logits = step([ends[0]], [0])
    for turn in range(1, length + 1):
        logits = np.asarray(logits, np.float64)
        logs = logits - logits.max(-1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(-1, keepdims=True))
        scores = (logs + np.array([score for score, _ in alive])[:, None]).ravel()
        # Besides the ends of each hypothesis, of which one is the rule, as many hold enough that
        # go on.
        best = np.argsort(-scores, kind="stable")[: (1 + len(ends)) * beams]
        going: list[tuple[float, list[int]]] = []
        parents = []
        for rank, place in enumerate(best):
            parent, token = divmod(int(place), logits.shape[-1])
            tokens = alive[parent][1]
            if token not in ends and len(going) < beams:
                going.append((float(scores[place]), [*tokens, token]))
                parents.append(parent)
            elif token in ends and rank < beams:
                ended.append((float(scores[place]) / turn, tokens))
        alive = going
        if len(ended) >= beams or turn == length or not alive:
            break
        logits = step([tokens[-1] for _, tokens in alive], parents)
    if len(ended) < beams:
        # What was not allowed to end is judged as it is.
        ended += [(score / length, tokens) for score, tokens in alive]
    return max(ended, key=lambda hypothesis: hypothesis[0])[1]
