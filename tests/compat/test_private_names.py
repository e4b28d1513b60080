"""Private names of other libraries are in compat/ alone, in one file for each library."""

import ast

import pytest

from tests.compat.private_names import names_in_compat, own_names, private_names_of_others, sources


@pytest.fixture(scope="module")
def known():
    """The package's trees, its own private names, and those of others that compat/ uses."""
    trees = sources()
    return trees, own_names(list(trees.values())), names_in_compat()


def test_only_compat_uses_private_names_of_other_libraries(known):
    trees, own, compat = known
    found = {name: private_names_of_others(tree, own, compat) for name, tree in trees.items()}
    assert {name: names for name, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "code",
    [
        "model._flatten_layers()",
        "getattr(optimizer, '_learning_rate', None)",
        "from keras.src.backend import get_keras_mask",
        "import tensorflow.python.ops",
        "class Own(keras.Model):\n    def f(self):\n        return self._tracker",
        "class Own:\n    def _flatten_layers(self):\n        return []",
    ],
)
def test_private_names_are_seen(code, known):
    _, own, compat = known
    assert len(private_names_of_others(ast.parse(code), own, compat)) == 1
