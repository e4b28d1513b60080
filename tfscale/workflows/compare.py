"""`tfscale compare`: which model a text needs, and which one a phone can afford.

Every model is trained on the same shards with the same budget, scored on the same split, exported
with int8 weights, and timed on this machine, one after the other. Bits per byte compare any two of
them; so do perplexities, because all read the same tokens.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping
from typing import cast

from tfscale.config import (
    ExportConfig,
    NetworkConfig,
    NGramConfig,
    TrainConfig,
    to_dict,
)
from tfscale.config.comparison import CompareConfig
from tfscale.config.options import checks_arguments, make_config
from tfscale.config.presets import PRESETS, preset
from tfscale.data.manifest import Manifest
from tfscale.data.sharding import batches_per_epoch
from tfscale.device import load
from tfscale.errors import ConfigError
from tfscale.evaluation.evaluate import evaluate_file, evaluate_run
from tfscale.exporting.export import export_run
from tfscale.exporting.ngram import NGramSource
from tfscale.exporting.writer import export_source
from tfscale.files.folders import claim_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import read_json, write_json
from tfscale.registry import FAMILIES
from tfscale.runs.folder import data_digest, load_run
from tfscale.runs.ngram import train_ngram
from tfscale.runs.timing import seconds_per_step, steps_within
from tfscale.runs.train import fit_to_data, train
from tfscale.workflows.compare_table import write_report

STATE = "compare.json"
RESULT_FORMAT = 1

Entry = tuple[NetworkConfig | NGramConfig, TrainConfig]

_TRAIN = TrainConfig(global_batch_size=16, tensorboard=False)
_ADAMW_RATE = 2e-3
"""Learning rate of the families that AdamW trains, at the sizes that are compared; the others have
their own default."""


def entry(name: str) -> Entry:
    """Returns the model of a name: a preset, or a family in a size for two cores and minutes.

    Raises:
        ConfigError: there is none of this name, or it does not predict the next token.

    Example:
        compare({name: entry(name) for name in ("ngram", "lstm", "llama-nano")}, config)
    """
    if name in PRESETS:
        sizes = preset(name)
        return sizes, _training(sizes)
    if name not in FAMILIES:
        compared = [kind.family for kind in FAMILIES if kind.predicts == "next"]
        known = ", ".join([*compared, *PRESETS])
        raise ConfigError(
            f"no model {name!r} to compare; there are {known}, and files such as my.yaml"
        )
    kind = FAMILIES.get(name)
    if kind.predicts != "next":
        raise ConfigError(
            f"{name} reads both sides of a token: its score is no perplexity, and does not compare"
        )
    # Every family is one of the two.
    config_class = cast(type[NetworkConfig] | type[NGramConfig], kind)
    model: NetworkConfig | NGramConfig = make_config(config_class, kind.compared_as)
    return model, _training(model)


def _training(model: NetworkConfig | NGramConfig) -> TrainConfig:
    """Returns how a model is trained; n-grams read nothing of it."""
    if model.counted or model.optimizer != "adamw":
        return _TRAIN
    return dataclasses.replace(_TRAIN, learning_rate=_ADAMW_RATE)


@checks_arguments
def compare(
    entries: Mapping[str, Entry],
    config: CompareConfig,
    note: Callable[[str], None] = lambda text: None,
) -> JsonObject:
    """Trains, scores, exports and times each model; goes on where it stopped.

    Args:
        entries: models and how they are trained, by the names that the table shows. The budget
            decides the steps.
        config: data, budget, and where to write.
        note: is called with a line for each stage.

    Returns:
        The content of compare.json: `models` (name -> `parameters`, `perplexity`, `bits_per_byte`,
            `unknown_tokens` of
        the split and their `unknown_share`, `train_tokens`,
        `train_seconds`, `train_tokens_per_second`, `file_bytes` of the int8 file,
        `device_tokens_per_second`, `steps`), `split`, and the options. If a signal stopped it:
        `interrupted`.

    Raises:
        ConfigError: no model, or a folder that was begun with other options.
        DataError: the data folder is damaged, or has no split to score.

    Example:
        config = CompareConfig(data="data", output="compared", budget_minutes=5)
        compare({"lstm": entry("lstm")}, config)
    """
    if not entries:
        raise ConfigError("give one model or more to compare, such as ngram, lstm, transformer")
    manifest = Manifest.load(config.data)
    split = config.split or ("test" if "test" in manifest.splits else "validation")
    manifest.split(split)
    for name, (model_config, train_config) in entries.items():
        if not model_config.counted:
            # A model that cannot be trained is refused before the first one is.
            length, rows = model_config.sequence_length, train_config.global_batch_size
            batches_per_epoch(manifest.split("train"), length, rows)
            fit_to_data(model_config, manifest)
        if train_config.seed not in (0, config.seed):
            raise ConfigError(
                f"{name} has train.seed={train_config.seed}, and all models of a comparison have"
                f" one seed; leave it out, or give --seed {train_config.seed}"
            )
        if os.path.basename(name) != name or name in ("", ".", ".."):
            raise ConfigError(f"{name!r} cannot be the name of a folder")
    claim_directory(config.output, STATE, "a comparison")
    path = os.path.join(config.output, STATE)
    options = {
        "budget_minutes": config.budget_minutes,
        "budget_tokens": config.budget_tokens,
        "seed": config.seed,
        "tokenizer_digest": manifest.tokenizer_digest,
        "data_digest": data_digest(manifest),
        "split": split,
    }
    state: JsonObject = {"format_version": RESULT_FORMAT, **options, "models": {}}
    if os.path.exists(path):
        earlier = read_json(path, "the comparison")
        for key, value in options.items():
            if earlier.get(key, value) != value:
                raise ConfigError(
                    f"{config.output} was begun with {key}={earlier[key]!r}, now it is {value!r}; "
                    "give the same, or another --output"
                )
        state = earlier | options
    else:
        # It shows that the folder is a comparison, should the first model be stopped.
        write_json(path, state)
    for name, (model_config, train_config) in entries.items():
        described = _described(model_config, train_config)
        if name in state["models"]:
            if not _same(state["models"][name]["described"], described):
                raise ConfigError(
                    f"{config.output} has another model {name!r} already; give another --output"
                )
            note(f"{name}: done before")
            continue
        figures = _measure(name, model_config, train_config, config, manifest, split, note)
        if "interrupted" in figures:
            return {**state, **figures, "output": config.output}
        state["models"][name] = {**figures, "described": described}
        write_json(path, state)
    shown = {name: state["models"][name] for name in entries}
    write_report(os.path.join(config.output, "report.html"), shown, split)
    return {**state, "models": shown, "output": config.output}


def _described(model_config: NetworkConfig | NGramConfig, train_config: TrainConfig) -> JsonObject:
    """Returns all options of a model and its training, with the optimizer by its name."""
    if not model_config.counted:
        optimizer = train_config.optimizer_for(model_config)
        train_config = dataclasses.replace(train_config, optimizer=optimizer)
    return {
        "family": model_config.family,
        "model": to_dict(model_config),
        "train": to_dict(train_config),
    }


def _same(before: JsonObject, now: JsonObject) -> bool:
    """Returns whether a model was trained as it would be now; what is counted is not trained."""
    names = ["family", "model"]
    if not FAMILIES.get(now["family"]).counted:
        names.append("train")
    return all(before[name] == now[name] for name in names)


def _measure(
    name: str,
    model_config: NetworkConfig | NGramConfig,
    train_config: TrainConfig,
    config: CompareConfig,
    manifest: Manifest,
    split: str,
    note: Callable[[str], None],
) -> JsonObject:
    run_dir, export_dir = (os.path.join(config.output, name, part) for part in ("run", "export"))
    if model_config.counted:
        note(f"{name}: count")
        # An interrupted count may have left files that are not a run.
        shutil.rmtree(run_dir, ignore_errors=True)
        summary = train_ngram(model_config, data=config.data, output=run_dir, progress=False)
        model = load(run_dir)
        score = evaluate_file(model, data_dir=config.data, split=split, progress=False)
        export = ExportConfig(output=export_dir, format="ngram", quantize="int8")
        export_source(NGramSource(model), export)
    else:
        model_config = fit_to_data(model_config, manifest)
        train_config = _with_budget(run_dir, model_config, train_config, config, note, name)
        note(f"{name}: train {train_config.steps:,} steps")
        summary = train(model_config, train_config, data=config.data, output=run_dir)
        if summary["interrupted"]:
            return {"interrupted": summary["interrupted"]}
        run = load_run(run_dir)
        note(f"{name}: score and export")
        score = evaluate_run(run, data_dir=config.data, split=split)
        export_run(run, ExportConfig(output=export_dir, quantize="int8"))
    device = load(export_dir)
    timing = device.benchmark(tokens=128)
    return {
        "steps": summary["steps"],
        "parameters": summary["parameters"],
        "perplexity": score["perplexity"],
        "bits_per_byte": score["bits_per_byte"],
        "unknown_tokens": score["unknown_tokens"],
        "unknown_share": score["unknown_share"],
        "train_tokens": summary["tokens"],
        "train_seconds": summary["seconds"],
        "train_tokens_per_second": summary["tokens_per_second"],
        "file_bytes": os.path.getsize(device.path),
        "device_tokens_per_second": timing["decode_tokens_per_second"],
    }


def _with_budget(
    run_dir: str,
    model_config: NetworkConfig,
    train_config: TrainConfig,
    config: CompareConfig,
    note: Callable[[str], None],
    name: str,
) -> TrainConfig:
    """Returns the training options with the steps of the budget, or of the run that was begun."""
    began = os.path.join(os.path.dirname(run_dir), "steps.json")
    train_config = dataclasses.replace(train_config, seed=config.seed)
    if os.path.exists(began):
        steps = read_json(began, "the steps of the budget")["steps"]
    else:
        shutil.rmtree(run_dir, ignore_errors=True)
        if config.budget_tokens:
            step_tokens = train_config.global_batch_size * model_config.sequence_length
            steps = max(1, round(config.budget_tokens / step_tokens))
        else:
            note(f"{name}: a few steps, to see how many fit into the time")
            step_seconds = seconds_per_step(config.data, model_config, train_config)
            steps = steps_within(60 * config.budget_minutes, step_seconds)
            if steps * step_seconds > 60 * config.budget_minutes:
                minutes = (
                    f"{steps * step_seconds / 60:.1f} minutes and not {config.budget_minutes:g}"
                )
                note(f"{name}: {steps} steps are the fewest, and take about {minutes}")
        write_json(began, {"steps": steps})
    suited = {
        "warmup_steps": max(1, steps // 20),
        "validate_every": max(50, steps // 10),
        "checkpoint_every": max(50, steps // 4),
    }
    # What a file of options says stays.
    usual = TrainConfig()
    left_out = [name for name in suited if getattr(train_config, name) == getattr(usual, name)]
    return dataclasses.replace(
        train_config.of_steps(steps), **{name: suited[name] for name in left_out}
    )
