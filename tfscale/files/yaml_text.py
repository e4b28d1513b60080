"""YAML that says what it looks like: aliases cannot blow a small file up, and a key counts once.

`a: &a [x, x]`, `b: &b [*a, *a]` and so on doubles with every line: 400 bytes stand for more than
any memory holds. Of a key that stands twice in a mapping PyYAML takes the later value, and says
nothing of the other.
"""

from typing import IO

import yaml

LARGEST = 100_000
"""Values that a document may stand for, each as often as its aliases repeat it."""


def load_yaml(source: str | IO[str], loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> object:
    """Returns what a YAML document says, of plain types alone.

    Args:
        source: the text, or an open file.
        loader: a subclass of PyYAML's safe loader.

    Raises:
        yaml.YAMLError: it is not YAML, it is nested too deeply, it contains itself, a key stands
            twice in a mapping, or its aliases repeat values so often that they are more than
            LARGEST.

    Example:
        load_yaml("a: &a [1, 2]\\nb: *a")    # {"a": [1, 2], "b": [1, 2]}
    """
    parser = loader(source)
    try:
        node = parser.get_single_node()
        if node is None:
            return None
        _size(node, {})
        return parser.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    finally:
        parser.dispose()


def _size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """Returns the values under a node, repeated ones as often as they appear.

    `sizes` has those of the nodes seen before.
    """
    if id(node) in sizes:
        known = sizes[id(node)]
        if known is None:
            raise yaml.YAMLError("a value contains itself")
        return known
    sizes[id(node)] = None
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
        inner = [part for pair in node.value for part in pair]
    size = 1 + sum(_size(part, sizes) for part in inner)
    if size > LARGEST:
        raise yaml.YAMLError(f"its aliases make more than {LARGEST:,} values of it")
    sizes[id(node)] = size
    return size


def _check_keys(mapping: yaml.MappingNode) -> None:
    seen: dict[str, yaml.Node] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        earlier = seen.setdefault(key.value, key)
        if earlier is not key:
            lines = f"{earlier.start_mark.line + 1} and {key.start_mark.line + 1}"
            raise yaml.YAMLError(f"{key.value} is given twice, in lines {lines}")
