"""The page of errors quotes messages that the code has, and its list has all that the code raises."""

import re

import pytest

import tfscale
from docs.hooks import messages
from tests.docs.collect import ROOT, text_of

PAGE = text_of("docs/errors.md")
QUOTED = [
    message
    for section in (
        "Options",
        "Text and data",
        "Training by fit",
        "Several devices and machines",
        "Export and device",
    )
    for message in re.findall(
        r"^\| `(.*?)` \| ", PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0], re.MULTILINE
    )
]


@pytest.fixture(scope="module")
def found():
    """All messages of the code, for which its files are parsed."""
    return messages.messages()


def pattern(template):
    """A regular expression of the messages that a template of the code gives."""
    return ".*".join(re.escape(part) for part in re.split(r"\{[^{}]*\}", template))


def test_the_page_quotes_the_thirty_most_likely():
    assert len(QUOTED) >= 30 and len(QUOTED) == len(set(QUOTED))


@pytest.mark.parametrize("quoted", QUOTED)
def test_quoted_messages_are_in_the_code(quoted, found):
    """The words between the gaps stand in one message of the code, in their order."""
    words = ".*".join(re.escape(part) for part in quoted.split("…"))
    assert any(re.search(words, message.text) for message in found), quoted


def test_every_class_has_a_row_with_its_exit_code_and_its_messages(found):
    rows = dict(re.findall(r"^\| `(\w+Error)` \| (\d+) \|", PAGE, re.MULTILINE))
    assert set(rows) == set(messages.error_classes())
    for name, code in rows.items():
        assert getattr(tfscale, name).exit_code == int(code), name
    assert {message.error for message in found} == set(rows)


def test_every_folder_that_raises_has_a_section(found):
    listing = messages.listing()
    for message in found:
        assert f"### {messages.CAUSES[message.folder]}\n" in listing
    assert listing.count("<li>") == len(found)
    folders = {path.name.removesuffix(".py") for path in (ROOT / "tfscale").iterdir()}
    assert set(messages.CAUSES) <= folders


def test_every_raise_of_the_code_is_found(found):
    """Counted by another way: the text of each raise, without the parser that the list uses."""
    classes = "|".join(messages.error_classes())
    for path in (ROOT / "tfscale").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        folder = path.relative_to(ROOT / "tfscale").parts[0].removesuffix(".py")
        texts = [message.text for message in found if message.folder == folder]
        for first in re.findall(rf'raise (?:{classes})\(\s*f?"([^"{{\\]{{12,}})', source):
            assert any(" ".join(first.split()) in text for text in texts), (path, first)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda folder: tfscale.TrainConfig(steps=-1),
        lambda folder: tfscale.TransformerConfig(hidden_dim=10, num_heads=3),
        lambda folder: tfscale.preset("no-such"),
        lambda folder: tfscale.open(str(folder / "nothing")),
        lambda folder: tfscale.load_tokenizer(str(folder)),
        lambda folder: tfscale.device.load(str(folder / "model.tflite")),
        lambda folder: tfscale.prepare(text=[str(folder / "no*.txt")], output=str(folder / "data")),
        lambda folder: tfscale.ExportConfig(output="x", quantize="int16x8"),
        lambda folder: tfscale.evaluate("run", text=["a"], data="b"),
        lambda folder: tfscale.strategy("horovod"),
    ],
)
def test_messages_that_users_see_are_in_the_list(mistake, found, tmp_path):
    with pytest.raises(tfscale.TfscaleError) as raised:
        mistake(tmp_path)
    seen = " ".join(str(raised.value).split())
    error = type(raised.value).__name__
    alike = [m for m in found if m.error == error and re.fullmatch(pattern(m.text), seen)]
    # Words of its own, not only gaps that anything fills.
    alike = [m for m in alike if len(re.sub(r"\{[^{}]*\}", "", m.text)) > 10]
    assert alike, (error, seen)
