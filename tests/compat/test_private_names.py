"""Private names of other libraries are in compat/ alone, in one file for each library."""

import ast

import pytest

from tests.compat.private_names import names_in_compat, own_names, private_names_of_others, sources


def test_only_compat_uses_private_names_of_other_libraries():
    trees = sources()
    own, compat = own_names(list(trees.values())), names_in_compat()
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
def test_private_names_are_seen(code):
    own = own_names(list(sources().values()))
    assert len(private_names_of_others(ast.parse(code), own, names_in_compat())) == 1
