"""A Griffe extension: examples of docstrings are shown as code, fields of option classes as lists.

In the code an example has no fence and a field's docstring stands below the field, as `help()` and
`--help` need them. Without this an example would be set as a paragraph, and each field under a
heading of its own.
"""

import ast
import re
import textwrap
from typing import Any

from griffe import Attribute, Class, Docstring, Expr, ExprSubscript, Extension, Module, Object

RETURNS = re.compile(r"^Returns:\n    (?=\S)", re.MULTILINE)
ATTRIBUTES = re.compile(r"^Attributes:\n((?:[ \t]+.*\n?)+)", re.MULTILINE)
ENTRY = re.compile(r"^    (\w+):", re.MULTILINE)
EXAMPLE = re.compile(r"^Example:\n((?:[ \t]+.*\n?|\n)+)", re.MULTILINE)


class Docstrings(Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Puts fences into the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        """Lists the fields of option classes and names types, when the whole package is known."""
        name_types(pkg)
        classes = list(option_classes(pkg.modules["config"]))
        lists = [fields_of(cls) for cls in classes]
        for cls, fields in zip(classes, lists, strict=True):
            text = cls.docstring.value if cls.docstring else ""
            cls.docstring = Docstring(f"{text}\n\nAttributes:\n{fields}", parent=cls)
            for attribute in documented(cls):
                attribute.docstring = None


def name_types(parent: Module | Class) -> None:
    """Names the types of results and attributes, which the docstrings leave to the signatures.

    Where a docstring names none, Griffe takes what stands before a colon for the type of a result,
    and the type of the attribute above for that of an attribute.
    """
    for member in parent.members.values():
        if member.is_alias:
            continue
        if member.is_module or member.is_class:
            name_types(member)
        if member.docstring is None:
            continue
        if member.is_function and member.returns is not None:
            typed = f"Returns:\n    {member.returns}: "
            member.docstring.value = RETURNS.sub(
                lambda _, typed=typed: typed, member.docstring.value
            )
        if member.is_class:
            member.docstring.value = ATTRIBUTES.sub(
                lambda found, cls=member: ENTRY.sub(
                    lambda entry: f"    {entry[1]} ({type_of(cls, entry[1])}):", found[0]
                ),
                member.docstring.value,
            )


def type_of(cls: Class, name: str) -> str:
    """Returns the type of an attribute: its own, or that of the argument that it keeps; or ""."""
    if name in cls.all_members and getattr(cls.all_members[name], "annotation", None):
        return plain(cls.all_members[name].annotation)
    parameter = next((each for each in cls.parameters if each.name == name), None)
    return plain(parameter.annotation) if parameter and parameter.annotation else ""


def fenced(docstring: str) -> str:
    """Puts fences around the code of the examples in a docstring.

    Args:
        docstring: The text without its common indentation.

    Returns:
        The text, whose `Example:` sections have fenced code.

    Example:
        >>> print(fenced("Adds.\\n\\nExample:\\n    add(1, 2)"))
        Adds.
        <BLANKLINE>
        Example:
            ```python
            add(1, 2)
            ```
    """

    def fence(found: re.Match[str]) -> str:
        code = textwrap.dedent(found[1]).strip("\n")
        if "```" in code:
            return found[0]
        block = textwrap.indent(f"```python\n{code}\n```", "    ")
        end = found[1][len(found[1].rstrip("\n")) :]
        return f"Example:\n{block}{end}"

    return EXAMPLE.sub(fence, docstring)


def option_classes(folder: Module) -> list[Class]:
    """Returns the classes of a package that have fields with docstrings."""
    found = [cls for cls in folder.classes.values() if not cls.is_alias and documented(cls)]
    for module in folder.modules.values():
        if not module.is_alias:
            found += option_classes(module)
    return found


def documented(cls: Class) -> list[Attribute]:
    """Returns the fields of a class that have a docstring, without those of its bases."""
    return [
        attribute
        for name, attribute in cls.attributes.items()
        if attribute.docstring is not None
        and attribute.annotation
        and not name.startswith("_")
        and "instance-attribute" in attribute.labels
    ]


def fields_of(cls: Class) -> str:
    """Writes the fields of a class and of its bases as the entries of an `Attributes:` section."""
    fields: dict[str, str] = {}
    for owner in [*reversed(cls.mro()), cls]:
        for attribute in documented(owner):
            text = textwrap.indent(" ".join(attribute.docstring.value.split()), "        ").strip()
            fields[attribute.name] = f"    {attribute.name} ({plain(attribute.annotation)}): {text}"
    return "\n".join(fields.values())


def plain(annotation: Expr | str) -> str:
    """Writes a type without what only the parser of the command line reads (`Annotated`)."""
    if isinstance(annotation, ExprSubscript) and str(annotation.left).endswith("Annotated"):
        return ast.unparse(ast.parse(str(annotation), mode="eval").body.slice.elts[0])
    return str(annotation)
