"""The files of a run besides its checkpoints: config.yaml, the tokenizer, model.keras and
summary.json."""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import keras
import yaml

from tfscale.compat.keras_weights import weights_from_files, weights_to_files
from tfscale.config import NetworkConfig, TrainConfig, to_dict
from tfscale.config.options import checks_arguments
from tfscale.data.manifest import Manifest
from tfscale.errors import CheckpointError, DataError, reason
from tfscale.files.fields import from_fields
from tfscale.files.folders import atomic_directory
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import (
    atomic_write,
    exists,
    is_remote,
    open_file,
    read_json,
    read_yaml,
    write_json,
)
from tfscale.models.network import LanguageNetwork, as_language_network, import_networks
from tfscale.registry import FAMILIES
from tfscale.runs.provenance import USED_XLA
from tfscale.text.tokenizers import Tokenizer, load_tokenizer
from tfscale.training.checkpoint import ArraysOf, array_digest, network_state


@dataclass(frozen=True)
class Run:
    """A trained model, its tokenizer and its options, read back from its folder."""

    directory: str
    network: LanguageNetwork
    tokenizer: Tokenizer
    model_config: NetworkConfig
    train_config: TrainConfig
    data_dir: str | None
    summary: JsonObject

    @property
    def weights_digest(self) -> str:
        """BLAKE2b of the network's weights, in hexadecimal."""
        return array_digest(ArraysOf(network_state(self.network)))


@checks_arguments
def load_run(directory: str) -> Run:
    """Reads a run folder back.

    Args:
        directory: RUN_DIR of `train`.

    Raises:
        CheckpointError: the folder is not a run, or its model is missing or damaged.

    Example:
        run = load_run("run")
        logits = run.network(ids)
    """
    path = os.path.join(directory, "config.yaml")
    if not exists(path):
        raise CheckpointError(f"{directory} is not a run folder: it has no config.yaml")
    config = read_config(path)
    model_path = os.path.join(directory, "model.keras")
    family = config["model"].get("family")
    if family is not None and family not in FAMILIES:
        raise CheckpointError(f"{directory} was trained with {FAMILIES.unregistered(family)}")
    if family is not None and FAMILIES.get(family).counted:
        if not exists(os.path.join(directory, "model.ngram")):
            raise CheckpointError(
                f"{directory} has no model.ngram yet: run the same train command until it ends"
            )
        raise CheckpointError(
            f"{directory} holds n-grams, not a network; evaluate, generate and export take it"
        )
    if not exists(model_path):
        raise CheckpointError(
            f"{directory} has no model.keras yet: run the same train command until it ends"
        )
    section = config.get("train")
    section = TrainConfig.of_record(section) if isinstance(section, dict) else section
    train_config = from_fields(TrainConfig, section, f"{path}: train", CheckpointError)
    loaded = load_network(model_path)
    network = as_language_network(loaded)
    if network is None:
        raise CheckpointError(
            f"{model_path} holds a {type(loaded).__name__}, not a network of tfscale"
        )
    return Run(
        directory=directory,
        network=network,
        tokenizer=load_tokenizer(directory),
        model_config=network.config,
        train_config=train_config,
        data_dir=_data_folder(config.get("data")),
        summary=read_summary(directory),
    )


def read_config(path: str) -> JsonObject:
    """Returns the content of a run's config.yaml, of which `model` is a mapping.

    Raises:
        CheckpointError: it is not that of a run.
    """
    try:
        config = read_yaml(path, "the configuration of the run")
    except DataError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(config.get("model"), dict):
        raise CheckpointError(f"{path} is not the config.yaml of a run: it has no section model")
    return config


def _data_folder(data: object) -> str | None:
    """Returns the data folder that a run names, as far as it can be used.

    A remote one is taken at its word until its data are asked for: a run of somebody else's must
    not make this machine call any server when it is only loaded.
    """
    if not isinstance(data, str) or not data:
        return None
    return data if is_remote(data) or os.path.isfile(os.path.join(data, "manifest.json")) else None


def load_network(path: str, classes: Mapping[str, type] | None = None) -> keras.Model:
    """Reads a Keras file, without its optimizer.

    Args:
        path: the file.
        classes: by name, those that Keras does not know by itself.

    Raises:
        CheckpointError: the file is damaged, or cannot be built by this installation.
    """
    import_networks()
    try:
        _compare_checksums(path)
        with weights_from_files():
            return keras.saving.load_model(path, compile=False, custom_objects=classes)
    except MemoryError:
        raise
    except Exception as error:
        # Damage shows wherever Keras, h5py, zipfile or TensorFlow stumble over it, each with errors
        # of its own.
        raise CheckpointError(f"{path} is damaged ({reason(error)})") from error


def _compare_checksums(path: str) -> None:
    """Reads a Keras file once, which is a zip archive, and compares each entry with its CRC-32.

    Keras has h5py read the weights, which seeks in the archive. From Python 3.13 on, `zipfile`
    compares nothing after a seek, and a flipped bit would become a wrong weight.
    """
    with open_file(path) as file, zipfile.ZipFile(file) as archive:
        if (entry := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {entry!r}")


def describe_run(
    model_config: NetworkConfig, train_config: TrainConfig, data: str, manifest: Manifest
) -> JsonObject:
    """Returns the content of config.yaml: all options of the run, digests of data and tokenizer."""
    return {
        "model": named(model_config),
        "train": to_dict(train_config),
        "data": _absolute(data),
        "data_digest": data_digest(manifest),
        "tokenizer_digest": manifest.tokenizer_digest,
    }


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(path)


def used_xla(output: str) -> bool | None:
    """Returns whether XLA compiles the steps of the run in a folder; None where no trial chose."""
    path = os.path.join(output, "config.yaml")
    kept = read_config(path).get(USED_XLA) if exists(path) else None
    return kept if isinstance(kept, bool) else None


def write_run_files(output: str, described: JsonObject, tokenizer: Tokenizer) -> None:
    """Writes config.yaml, which shows that the folder is a run, and then the tokenizer."""
    with atomic_write(os.path.join(output, "config.yaml"), "w") as file:
        yaml.safe_dump(described, file, sort_keys=False, allow_unicode=True)
    tokenizer.save(os.path.join(output, "tokenizer"))


def write_untrained_run(
    output: str,
    network: LanguageNetwork,
    tokenizer: Tokenizer,
    train_config: TrainConfig,
    summary: JsonObject,
    started_from: str | None = None,
    data: str | None = None,
) -> None:
    """Writes a whole run folder of a network that `train` did not make as it is.

    Args:
        output: the folder, put in place when all is written.
        network: of `build_network`.
        tokenizer: its tokenizer.
        train_config: how it would be trained on.
        summary: the content of summary.json.
        started_from: digest of the weights that it was made of.
        data: the data folder that it belongs to.
    """
    described = {
        "model": named(network.config),
        "train": to_dict(train_config),
        "data": None if data is None else _absolute(data),
        "data_digest": None if data is None else data_digest(Manifest.load(data, verify="size")),
        "tokenizer_digest": tokenizer.digest,
        "started_from": started_from,
    }
    with atomic_directory(output) as folder:
        write_run_files(folder, described, tokenizer)
        save_network(network, os.path.join(folder, "model.keras"))
        write_json(os.path.join(folder, "summary.json"), summary)


def save_network(network: keras.Model, path: str) -> None:
    """Writes a Keras file under a temporary name, then renames it."""
    if "://" in path:
        network.save(path)
        return
    temporary = f"{path}.tmp.keras"
    try:
        with weights_to_files():
            network.save(temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def named(config: NetworkConfig) -> JsonObject:
    """Returns the options of a model with the name of its family."""
    return {"family": config.family, **to_dict(config)}


def data_digest(manifest: Manifest) -> str:
    """Returns one digest over every shard of the data."""
    digests = [
        shard.sha256 for _, split in sorted(manifest.splits.items()) for shard in split.shards
    ]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read_summary(directory: str) -> JsonObject:
    """Returns the content of summary.json; empty where there is none yet."""
    path = os.path.join(directory, "summary.json")
    summary = read_json(path, "the run's summary") if exists(path) else {}
    if not isinstance(summary, dict):
        raise DataError(
            f"the run's summary should hold names and values: {path} holds a"
            f" {type(summary).__name__}"
        )
    return summary
