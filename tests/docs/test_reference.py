"""The reference has every public name, the navigation every page, and the hooks do what they say."""

import doctest
import re

import pytest
import yaml

import tfscale
from docs.hooks import messages, names, outside, tables
from tests.docs.collect import PAGES, ROOT, prose, text_of

REFERENCE = [page for page in PAGES if page.startswith("docs/reference/")]
BESIDE_THE_SITE = set(outside.PAGES)
"""Pages outside of docs/, which a hook brings in."""


def public_names():
    """The public names, with those of the public packages."""
    found = {f"tfscale.{name}" for name in tfscale.__all__}
    for package in (tfscale.compress, tfscale.device):
        found |= {f"{package.__name__}.{name}" for name in package.__all__}
    return found - {"tfscale.__version__", "tfscale.compress", "tfscale.device"}


def test_every_public_name_has_one_place_in_the_reference():
    shown = [
        name
        for page in REFERENCE
        for name in re.findall(r"^::: (\S+)$", text_of(page), re.MULTILINE)
    ]
    assert sorted(shown) == sorted(public_names())


@pytest.mark.parametrize("name", sorted(public_names()))
def test_public_names_have_docstrings_that_begin_with_a_sentence(name):
    """The first line is what the index and the search show."""
    value = tfscale
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    first = value.__doc__.split("\n\n")[0].strip()
    assert first.endswith(".") and (first[0].isupper() or first[0] == "`"), first


def nav_targets(entries):
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else nav_targets(target)


def test_the_navigation_has_every_page_once():
    nav = list(nav_targets(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    pages = {outside.place_of(page) for page in PAGES} | set(outside.PAGES.values())
    assert sorted(nav) == sorted(pages)


@pytest.mark.parametrize("hook", [outside, names, messages, tables], ids=lambda hook: hook.__name__)
def test_examples_of_the_hooks(hook):
    tested = doctest.testmod(hook)
    assert tested.attempted and not tested.failed


def test_links_of_all_pages_lead_to_places_in_the_site():
    """A link that the hook left pointing out of docs/ would be dead there."""
    places = {outside.place_of(page) for page in PAGES} | set(outside.PAGES.values())
    for page in {*PAGES, *outside.PAGES}:
        site = outside.rewritten(text_of(page), page, {})
        here = ROOT / outside.place_of(page)
        for target in re.findall(
            r"\]\((?!https?:)([^)#\s]+)", re.sub(r"```.*?```", "", site, flags=re.DOTALL)
        ):
            reached = (here.parent / target).resolve().relative_to(ROOT).as_posix()
            shown = reached.startswith("examples/") or reached.endswith(".ipynb")
            assert reached in places or shown and (ROOT / reached).is_file(), (page, target)


def test_names_of_the_index_are_linked_to_the_reference():
    linked = names.linked(text_of("docs/api.md"))
    assert set(re.findall(r"\]\[(tfscale\.[\w.]+)\]", linked)) == public_names()
    assert "tfscale.prepare" not in prose("docs/api.md").split("## Commands")[1].split("|")[0]
