"""The state of a search on disk: what it was begun with, and what each candidate gave."""

import os

from tfscale.config import to_dict
from tfscale.config.compression import CompressConfig, SearchConfig
from tfscale.errors import ConfigError
from tfscale.files.paths import read_json, write_json
from tfscale.runs.folder import Run
from tfscale.workflows.search.outcome import State
from tfscale.workflows.search.target import Target

STATE = "search.json"
FORMAT_VERSION = 1


def begin_state(
    run: Run, config: CompressConfig, bounds: SearchConfig, data: str, target: Target | None
) -> State:
    """Returns the earlier state of the folder, or a new one.

    Raises:
        ConfigError: the search of the folder was begun with something else.
    """
    asked = to_dict(bounds)
    del asked["target_text"]  # Where the text lies may change, and what it says may not.
    now = {
        "run": run.weights_digest,
        "bounds": asked,
        "target_text": target and target.digest,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "data": os.path.abspath(data) if "://" not in data else data,
    }
    path = os.path.join(config.output, STATE)
    if not os.path.exists(path):
        os.makedirs(config.output, exist_ok=True)
        return {"format_version": FORMAT_VERSION, "asked": now, "steps": 0, "candidates": {}}
    state = read_json(path, "the state of a search")
    for name, value in now.items():
        # A search that was begun before there were target texts names none.
        if (before := state["asked"].get(name)) != value:
            raise ConfigError(
                f"the search in {config.output} was begun with {name}={before!r}, now it is"
                f" {value!r}; give the same to go on, or another --output"
            )
    return state


def save_state(output: str, state: State) -> None:
    """Writes the state into the folder of a search."""
    write_json(os.path.join(output, STATE), state)
