"""Each private name of argparse and jsonargparse that tfscale needs is there."""

from jsonargparse import ArgumentParser

from tfscale.compat.jsonargparse import actions_of, type_of


def test_actions_and_their_types():
    parser = ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--numbers", type=list[int])
    parser.add_argument("--json", action="store_true")
    actions = {action.dest: action for action in actions_of(parser)}
    assert set(actions) >= {"run", "numbers", "json"}
    assert type_of(actions["numbers"]) == list[int]
    assert type_of(actions["json"]) is None
