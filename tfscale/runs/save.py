"""`tfscale.save_run`: a run folder of a model that was trained by `fit`."""

import contextlib
import dataclasses

from tfscale.config import TrainConfig
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.errors import ConfigError, TokenizerError
from tfscale.files.folders import claim_directory
from tfscale.files.model_folders import TRAINED_FILES
from tfscale.models.network import LanguageNetwork
from tfscale.runs.folder import write_untrained_run
from tfscale.text.tokenizers import Tokenizer
from tfscale.training.language_model import LanguageModel

_OPTIMIZER = "adamw"
"""How such a run is trained further where nobody says otherwise: `fit` took any optimizer."""


@checks_arguments
def save_run(
    model: LanguageModel | LanguageNetwork,
    tokenizer: Tokenizer,
    output: str,
    data: str | None = None,
) -> None:
    """Writes a run folder of a model that was trained by `fit`.

    `tfscale.open`, `evaluate`, `generate`, `export`, `finetune`, `compress_` and `train(start=...)`
    take it like any other run. Of a `LanguageModel` the averaged weights are saved where it has
    them, and the network as it is without what only training needs.

    Args:
        model: a `LanguageModel` around a network of `tfscale.build_network`, or the network.
        tokenizer: that of its training data, as `tfscale.load_tokenizer(DATA_DIR)` gives it.
        output: run folder to write.
        data: the data folder that it was trained on: its validation split is what `evaluate`
            scores by default, and what an export is compared on.

    Raises:
        ConfigError: the network is not a `LanguageNetwork`, or knows another number of tokens.
        TokenizerError: the data was tokenized by another tokenizer.
        DataError: the output folder holds something else.

    Example:
        tfscale.save_run(model, tfscale.load_tokenizer("data"), "run", data="data")
        tfscale.export("run", output="export", quantize="int8")
    """
    trained = model if isinstance(model, LanguageModel) else None
    network = model if trained is None else trained.network
    if not isinstance(network, LanguageNetwork):
        raise ConfigError(
            f"save_run takes a network of tfscale.build_network; received a"
            f" {type(network).__name__}, which tfscale.export_keras exports"
        )
    if network.config.vocabulary_size != tokenizer.vocabulary_size:
        raise ConfigError(
            f"the network knows {network.config.vocabulary_size} tokens and the tokenizer"
            f" {tokenizer.vocabulary_size}; they do not belong together"
        )
    manifest = None if data is None else Manifest.load(data, verify="size")
    if manifest is not None and manifest.tokenizer_digest != tokenizer.digest:
        raise TokenizerError(f"{data} was tokenized by another tokenizer than the one given")
    claim_directory(output, "config.yaml", "a run folder", without=(*TRAINED_FILES, "model.ngram"))
    options = TrainConfig(optimizer=_OPTIMIZER, precision=network.precision, seed=network.seed)
    if trained is not None and trained.train_step_runner is not None:
        # A run is scored as it was trained.
        given = trained.train_step_runner.options
        options = dataclasses.replace(
            options,
            document_mask=given.document_mask,
            document_positions=given.document_positions,
        )
    with contextlib.ExitStack() as stack:
        if trained is not None:
            stack.enter_context(trained.averaged_weights())
            network = trained.plain_network()
        summary = {"parameters": network.count_params()}
        write_untrained_run(output, network, tokenizer, options, summary, data=data)
