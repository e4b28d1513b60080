"""The options of a model and its training: `train` has them, and `plan`, `tpu-check`, `launch` and
`compare` read them by the same rules.

The model family decides which options there are. It is named by an option or in the YAML file, so
the words are looked through for it before they are parsed.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from jsonargparse import Namespace

from tfscale.commands.arguments import (
    HELP,
    normalize,
    parse_normalized,
    unknown_option,
)
from tfscale.commands.option_files import apply_yaml, read_yaml
from tfscale.commands.parser import (
    CONFIG_FILE,
    GENERAL,
    CommandParser,
    Entry,
    Hint,
    Option,
    Word,
    build_config,
    option_types,
)
from tfscale.config import NetworkConfig, NGramConfig, TrainConfig, TransformerConfig
from tfscale.config.models import network_families
from tfscale.config.options import Options, hints_of
from tfscale.config.presets import PRESETS, preset_options
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.registry import FAMILIES
from tfscale.runs.provenance import RECORDED

DEFAULT = TransformerConfig.family
_PRESETS = ", ".join(PRESETS)


_CONFIG = Word(
    CONFIG_FILE.name,
    "CONFIG.yaml",
    "Options in the sections model: and train:, data: and output:.",
    optional=True,
)
_DATA = Option("data", str, "Data folder that tfscale prepare wrote.")


def network_parser(
    family: str = DEFAULT,
    command: str = "train",
    description: str = "Trains a language model: tfscale train --data DATA --output RUN. The same"
    " command goes on from the last checkpoint of its run folder.",
    takes: Iterable[Entry] = (),
) -> CommandParser:
    """Returns the parser of what decides about a network and its train step.

    Args:
        family: the family whose options it has; its full help lists the others at the end.
        command: the command that it is for.
        description: the first lines of its help.
        takes: the command's own options.
    """
    config_class, others = FAMILIES.get(family), FAMILIES.names()
    entries: list[Entry] = [
        _CONFIG,
        _DATA,
        Option("output", str, "Run folder to write, or to go on with."),
        Option("model.family", str, f"Kind of model: {', '.join(others)}.", family),
    ]
    if config_class.has_presets:
        known = f"Sizes and options of a known model, before those that are given: {_PRESETS}."
        entries.append(Option("model.preset", str, known, ""))
    entries += [(config_class, "model"), (TrainConfig, "train"), *takes]
    rest = [name for name in others if name != family]
    hint = f"the options of the families {', '.join(rest)}"
    return CommandParser(command, description, entries, lambda: _family_helps(rest), hint)


def counting_parser(family: str) -> CommandParser:
    """Returns the parser for models that are counted: they take no steps, and no train options."""
    entries: list[Entry] = [
        Word("config", "CONFIG.yaml", "Options in the section model:.", optional=True),
        _DATA,
        Option("output", str, "Run folder to write."),
        Option("model.family", str, f"{family}.", family),
        (FAMILIES.get(family), "model"),
    ]
    return CommandParser("train", "Counts n-grams and smooths them.", entries)


def _family_helps(families: Iterable[str]) -> str:
    return "\n\n".join(map(_family_help, families))


def _family_help(family: str) -> str:
    """Returns the options of another family, as the end of the full help lists them."""
    parser = CommandParser("train", "", [(FAMILIES.get(family), "model")])
    lines = parser.help_text(everything=True).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  --model."))
    title = lines[start - 1].removesuffix(":")
    options = [line for line in lines[start : lines.index(f"{GENERAL}:")] if line.startswith(" ")]
    return "\n".join([f"With --model.family {family} ({title}):", *options])


def parse_model_options(
    words: Sequence[str],
    build_parser: Callable[[str], CommandParser],
    needed: Mapping[str, str] | None = None,
    families: Sequence[str] = (),
) -> Namespace:
    """Parses words with the options of a model, and the YAML file if one is named.

    Args:
        words: the words after the command.
        build_parser: makes the parser of a family.
        needed: options that must be given, and what they are.
        families: those that the command takes; all that are networks if left out.

    Raises:
        ConfigError: a mistake in the words or in the file.
    """
    allowed = list(families or network_families())
    default = build_parser(DEFAULT)
    # Options may stand before the family that they belong to.
    known = option_types(default)
    for key, typehint in _model_types(allowed).items():
        known.setdefault(key, typehint)
    option = f"--{CONFIG_FILE.name}="
    words = [
        word.removeprefix(option) for word in normalize(words, {**known, CONFIG_FILE.name: str})
    ]
    path = next((word for word in words if not word.startswith("-")), None)
    document = _read_document(path)
    family = _check_family(_given(words, document, "family") or DEFAULT, allowed)
    parser = default if family == DEFAULT else build_parser(family)
    _check_known(words, parser)
    _check_start(words, document)
    if preset := _given(words, document, "preset"):
        apply_yaml(parser, {"model": preset_options(str(preset))}, f"preset {preset}")
    if path:
        apply_yaml(parser, document, path)
    options = parse_normalized(parser, words)
    for name, what in (needed or {}).items():
        if not options[name]:
            raise ConfigError(f"--{name} must be given: {what}")
    return options


def model_of(options: Namespace) -> NetworkConfig | NGramConfig:
    """Returns the network or the n-grams that were asked for."""
    # Every family is one of the two.
    family = FAMILIES.get(options.model.family)
    return build_config(cast(type[NetworkConfig] | type[NGramConfig], family), options, "model")


def network_of(options: Namespace) -> NetworkConfig:
    """Returns the network that was asked for, by a command that takes no n-grams."""
    return build_config(network_families()[options.model.family], options, "model")


def training_of(options: Namespace) -> TrainConfig:
    """Returns the training options; the defaults for n-grams, which have none."""
    return build_config(TrainConfig, options, "train") if "train" in options else TrainConfig()


def _read_document(path: str | None) -> JsonObject:
    """Returns the options of a YAML file; that of a run has more keys, which are left out."""
    document = read_yaml(path) if path else {}
    if "data_digest" in document:
        document = _of_record(document)
    return {key: value for key, value in document.items() if key not in RECORDED}


def _of_record(document: JsonObject) -> JsonObject:
    """Returns the config.yaml of a run of this or an earlier version as this version writes it."""
    kinds: dict[str, type[Options]] = {"train": TrainConfig}
    family = _model_section(document).get("family")
    if isinstance(family, str) and family in FAMILIES:
        kinds["model"] = FAMILIES.get(family)
    return {
        name: kinds[name].of_record(section)
        if name in kinds and isinstance(section, dict)
        else section
        for name, section in document.items()
    }


def _model_types(families: Iterable[str]) -> dict[str, Hint]:
    """Returns the types of the options of several families by key."""
    return {
        f"model.{field.name}": hints_of(config_class)[field.name]
        for config_class in map(FAMILIES.get, families)
        for field in dataclasses.fields(config_class)
    }


def _check_family(family: object, allowed: Sequence[str]) -> str:
    if not isinstance(family, str) or family not in allowed:
        raise ConfigError(
            f"--model.family: expected one of {', '.join(allowed)}; received {family!r}"
        )
    return family


def _given(words: Sequence[str], document: JsonObject, key: str) -> object:
    """Returns a key of the model as the words give it, last one first, or else the YAML file."""
    values = [word.partition("=")[2] for word in words if word.startswith(f"--model.{key}=")]
    return values[-1] if values else _model_section(document).get(key)


def _model_section(document: JsonObject) -> JsonObject:
    section = document.get("model")
    return section if isinstance(section, dict) else {}


def _check_known(words: Sequence[str], parser: CommandParser) -> None:
    """Refuses options that another family has."""
    known = option_types(parser)
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in HELP and name[2:] not in known:
            raise ConfigError(unknown_option(name, known))


def _check_start(words: Sequence[str], document: JsonObject) -> None:
    """Refuses options of a model beside the run that gives it."""
    if not document.get("start") and not any(word.startswith("--start=") for word in words):
        return
    named = [word.partition("=")[0] for word in words if word.startswith("--model.")]
    named += [f"model.{key}" for key in _model_section(document)]
    if named:
        raise ConfigError(f"--start takes the model of that run; leave {', '.join(named)} out")
