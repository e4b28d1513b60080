"""`tfscale.prepare`, `train`, `compress_` and `export`: functions that write a folder."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tfscale.artifacts import Artifact, opened
from tfscale.compat.quiet import load_tensorflow
from tfscale.config import ExportConfig, NetworkConfig, NGramConfig, PrepareConfig, TrainConfig
from tfscale.config.compression import (
    CompressConfig,
    DistillConfig,
    PruneConfig,
    SearchConfig,
)
from tfscale.config.options import checks_arguments, config_of
from tfscale.config.prepare import PrepareTextsConfig
from tfscale.config.shrinking import ShrinkConfig
from tfscale.data.manifest import Manifest
from tfscale.distribution.cluster import reports_progress
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.ui.progress import ProgressLine

if TYPE_CHECKING:
    from tfscale.exporting.report import Report


@checks_arguments
def prepare(
    config: PrepareConfig | None = None,
    *,
    texts: Iterable[object] | None = None,
    progress: bool = True,
    **options: object,
) -> Manifest:
    """Turns text into a tokenizer, token shards and a manifest.

    Args:
        config: what to read and to write.
        texts: the documents of the training text, instead of `text`: an iterable of strings, or of
            records with the field `text_field`, such as the rows of a Hugging Face data set; or a
            `tf.data.Dataset` of either. It is read once.
        progress: show progress on stderr.
        **options: instead of `config`, the fields of `PrepareConfig`.

    Example:
        tfscale.prepare(text=["books/*.txt"], vocabulary_size=4096, output="data")
        tfscale.prepare(texts=(page.text for page in pages), tokenizer="byte", output="pages")
    """
    if texts is not None and config is not None:
        raise ConfigError("texts go with single options; received config beside them")
    kind = PrepareConfig if texts is None else PrepareTextsConfig
    chosen = config_of(kind, config, options)
    load_tensorflow()
    from tfscale.data.prepare import prepare as prepare_data

    return prepare_data(chosen, progress=progress, texts=texts)


@checks_arguments
def train(
    model: NetworkConfig | NGramConfig | None = None,
    train_config: TrainConfig | None = None,
    *,
    data: str,
    output: str,
    start: str = "",
    vectors: str = "",
    distill: DistillConfig | None = None,
    progress: bool = True,
) -> JsonObject:
    """Trains a model on a data folder; goes on where it stopped if the run folder has a checkpoint.

    Args:
        model: the options of a network or of n-grams; a vocabulary size of 0 takes the
            tokenizer's. With `start` it is left out.
        train_config: batch, optimizer, schedule and so on; n-grams take none.
        data: data folder that `tfscale.prepare` wrote.
        output: run folder to write; absent, empty, or an earlier state of the same run.
        start: run folder to begin with: its architecture and its weights. The data is prepared
            with its tokenizer.
        vectors: file of word2vec or GloVe: the first embeddings of the tokens that it knows.
        distill: a run folder as the teacher, its part of the loss and the temperature.
        progress: show progress on stderr.

    Returns:
        The summary that is also written to summary.json in the run folder: steps, tokens, loss,
        tokens_per_second, input_wait_fraction, validation (as `tfscale.evaluate` gives it),
        completed, and more; of n-grams `ngrams`, their number by order.

    Raises:
        ConfigError: options that contradict each other, the data, the devices, or the earlier
            state of the run; or another process that trains into the folder.
        DataError: the data folder is missing or damaged.
        TokenizerError: the data was tokenized by another tokenizer than that of `start` or of the
            teacher.
        CheckpointError: no checkpoint is whole, or they are of another model.
        TrainingError: the loss is no longer finite.
        WorkerLostError: another worker of the same training went away.

    Example:
        tfscale.train(tfscale.LSTMConfig(hidden_dim=256), tfscale.TrainConfig(steps=500),
                      data="data", output="run")
        tfscale.train(train_config=tfscale.TrainConfig(steps=100), start="run", data="more",
                      output="longer")
    """
    distill = distill or DistillConfig()
    _check_beginning(model, start, vectors, distill)
    options = train_config or TrainConfig()
    line = ProgressLine("train", None, enabled=progress and reports_progress(options.strategy))
    load_tensorflow(line.note)
    if start:
        from tfscale.runs.start import train_from_run

        return train_from_run(start, options, data=data, output=output, progress=progress)
    assert model is not None
    if vectors and not model.counted:
        from tfscale.runs.vectors import train_from_vectors

        return train_from_vectors(
            model, options, vectors, data=data, output=output, progress=progress
        )
    if distill.teacher and not model.counted:
        from tfscale.compress.tuning import distill_run

        return distill_run(model, options, distill, data=data, output=output, progress=progress)
    from tfscale.runs.train import train as train_run

    return train_run(model, options, data=data, output=output, progress=progress)


def _check_beginning(
    model: NetworkConfig | NGramConfig | None, start: str, vectors: str, distill: DistillConfig
) -> None:
    """Refuses weights to begin with that contradict each other or the model."""
    if distill.weight and not distill.teacher:
        raise ConfigError(
            f"distill.weight={distill.weight} needs distill.teacher, the folder of a run"
        )
    given = {"vectors": vectors, "distill.teacher": distill.teacher, "start": start}
    named = [name for name, value in given.items() if value]
    if len(named) > 1:
        raise ConfigError(f"give either {' or '.join(named)}")
    if start and model is not None:
        raise ConfigError("start takes the model of that run; leave the options of a model out")
    if model is None and not start:
        raise ConfigError(
            "train needs the options of a model, such as tfscale.TransformerConfig(), or start, the"
            " folder of a run"
        )
    if model is not None and model.counted and named:
        raise ConfigError(
            f"n-grams are counted, not trained: {named[0]} has no effect on them; leave it out"
        )


@checks_arguments
def compress_(
    run: str,
    config: CompressConfig,
    prune: PruneConfig | None = None,
    shrink: ShrinkConfig | None = None,
    distill: DistillConfig | None = None,
    search: SearchConfig | None = None,
    *,
    progress: bool = True,
) -> JsonObject:
    """Makes a run smaller and trains it on; goes on where it stopped.

    The underscore tells it from the package `tfscale.compress`, which has the parts for a model of
    your own: `tfscale.compress.prune`, `tfscale.compress.distill`, ...

    Args:
        run: run folder; it is left as it is.
        config: the folder to write, how long to fine-tune, and the recipe that weights are rounded
            for.
        prune: how many weights become zero, and which.
        shrink: the sizes to reach before the fine-tuning.
        distill: the weight of earlier predictions in the loss, and whose they are.
        search: bounds on size, quality and speed: with one of them it is found out what to do, and
            the exported file is written, too. `prune`, `shrink`, `distill` and a recipe in
            `config` are left out then.
        progress: show progress on stderr.

    Returns:
        The summary of the new run, with what is zero and the validation before and after; of a
        search the content of search.json.

    Raises:
        ConfigError: nothing to do, or options that contradict each other or the earlier state of
            the output folder.
        TokenizerError: the data was tokenized by another tokenizer than the run's.

    Example:
        tfscale.compress_("run", tfscale.CompressConfig(output="sparse", steps=500),
                          prune=tfscale.PruneConfig(sparsity=0.8))
        tfscale.compress_("run", tfscale.CompressConfig(output="small", steps=2000),
                          search=tfscale.SearchConfig(target_size="4MB"))
    """
    prune, shrink = prune or PruneConfig(), shrink or ShrinkConfig()
    distill, search = distill or DistillConfig(), search or SearchConfig()
    if not search.asked:
        load_tensorflow()
        from tfscale.compress.compress import compress_run

        return compress_run(run, config, prune, shrink, distill, progress=progress)
    for name, given in (("shrink", shrink), ("prune", prune), ("distill", distill)):
        if given != type(given)():
            raise ConfigError(
                f"{name} says what to do, and a bound such as target_size asks compress to find"
                " out; give one of them"
            )
    if config.quantize != CompressConfig.quantize:
        raise ConfigError(
            "quantize is one recipe, and with a bound compress tries all; give one of them"
        )
    load_tensorflow()
    from tfscale.terminal import to_stderr
    from tfscale.workflows.search import search_run

    return search_run(run, config, search, to_stderr if progress else lambda text: None)


@checks_arguments
def export(
    target: str | Artifact,
    config: ExportConfig | None = None,
    *,
    output: str = "",
    progress: Callable[[str], None] | None = None,
    **options: object,
) -> "Report":
    """Writes a run, an n-gram run or a task as a file for the device.

    Args:
        target: its folder, or what `tfscale.open` returned. A Keras model of your own is exported
            by `tfscale.export_keras`, or saved as a run by `tfscale.save_run` first.
        config: folder, format, recipe and how much is compared.
        output: instead of `config`, the export folder to write.
        progress: receives the name of each stage.
        **options: with `output`, other fields of `ExportConfig`, such as quantize="int8".

    Returns:
        The parity report, which is also written to parity.json.

    Raises:
        ConfigError: a format or recipe that is not for what the folder holds.
        CheckpointError: the folder is missing or damaged.
        ExportError: the file fails its parity check; nothing is written.

    Example:
        tfscale.export("run", output="export", quantize="int8")
    """
    if output:
        options["output"] = os.fspath(output)
    chosen = config_of(ExportConfig, config, options)
    return opened(target).export(chosen, progress)
