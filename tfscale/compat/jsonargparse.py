"""Private names of argparse and jsonargparse that tfscale needs, each with the reason.

Nobody else uses such names. When an upgrade of either takes one away,
tests/compat/test_jsonargparse.py says which.
"""

import argparse


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Returns the options and positional arguments of a parser, which nothing public lists."""
    return list(parser._actions)


def type_of(action: argparse.Action) -> object:
    """Returns the type hint that jsonargparse made an option of; None for argparse's own options.

    `action.type` is a function that converts text, whatever the hint was.
    """
    return getattr(action, "_typehint", None)
