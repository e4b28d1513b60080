"""`translate`: a text in another language."""

from collections.abc import Sequence

from tfscale.files.json_text import JsonObject
from tfscale.registry import register
from tfscale.tasks.examples import Example
from tfscale.tasks.values import GroupScores, Prediction
from tfscale.tasks.writing_task import WritingTask, pairs_of


@register
class Translate(WritingTask):
    """A text for a text, judged by BLEU (Papineni et al. 2002) and chrF (Popovic 2015) of the whole
    set, 0 to 100. The baseline is the source itself."""

    name = "translate"
    summary = "a text for a text, judged by BLEU and chrF"
    title = "Translation"
    metric = "chrf"
    package = "sacrebleu"

    def text_scores(self, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
        import sacrebleu

        targets, written = [[target for target, _ in pairs]], [text for _, text in pairs]
        # Without `force` it warns of texts that seem to be tokenized, which is not ours to change.
        bleu = sacrebleu.corpus_bleu(written, targets, force=True).score
        return {"bleu": float(bleu), "chrf": _chrf(pairs)}

    def baseline(self, train: Sequence[Example], examples: Sequence[Example]) -> list[JsonObject]:
        return [{"text": example.text} for example in examples]

    def group_scores(
        self, examples: Sequence[Example], predictions: Sequence[Prediction]
    ) -> GroupScores:
        # chrF is a score of a set and not a mean: each sample is scored anew.
        return GroupScores(pairs_of(examples, predictions), _chrf, draws=100)


def _chrf(pairs: Sequence[tuple[str, str]]) -> float:
    import sacrebleu

    targets, written = [target for target, _ in pairs], [text for _, text in pairs]
    return float(sacrebleu.corpus_chrf(written, [targets]).score)
