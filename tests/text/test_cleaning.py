import pytest

from tfscale.text.cleaning import Cleaner, collapse_whitespace, strip_html


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a &amp; b</p><p>c</p>", "a & b\nc\n"),
        ("one<br/>two<br>three", "one\ntwo\nthree"),
        ("<style>p { }</style>seen<script>if (a < b) run()</script>", "seen"),
        ("x<!-- hidden -->y", "xy"),
        ("a < b and b > c", "a < b and b > c"),
        ("&eacute;&#128578;&lt;b&gt;", "é🙂<b>"),
        ("<b>bo</b>ld", "bold"),
        ("", ""),
        ("an open <b", "an open "),
    ],
)
def test_strip_html(html, text):
    result = strip_html(html)
    # What becomes of a tag that never ends differs between Python's releases; its text is no text of the page.
    assert result.removesuffix("<b") == text


def test_collapse_whitespace():
    assert collapse_whitespace("a\t b \r\n\r\n\r\n c ") == "a b\n\nc"
    assert collapse_whitespace("a\nb\n\nc\n\n\n\nd") == "a\nb\n\nc\n\nd"
    assert collapse_whitespace("a\u00a0\u3000b") == "a b"
    assert collapse_whitespace(" \n\t ") == ""


def test_nothing_is_cleaned_unless_asked_for():
    text = "<p>A\t\u212b e\u0301</p> \r\n\n\n\n"
    assert Cleaner()(text) == text


def test_each_step_alone_and_all_together():
    text = "<i>\ufb01</i> E\u0301  X"
    assert Cleaner(unicode_normalization="NFC")(text) == "<i>\ufb01</i> \u00c9  X"
    assert Cleaner(unicode_normalization="NFKC")(text) == "<i>fi</i> \u00c9  X"
    assert Cleaner(lowercase=True)(text) == "<i>\ufb01</i> e\u0301  x"
    assert Cleaner(strip_html=True)(text) == "\ufb01 E\u0301  X"
    assert Cleaner(collapse_whitespace=True)(text) == "<i>\ufb01</i> E\u0301 X"
    everything = Cleaner(
        strip_html=True, unicode_normalization="NFKC", lowercase=True, collapse_whitespace=True
    )
    assert everything(text) == "fi é x"


def test_the_beginning_of_a_text_keeps_the_white_space_at_its_end():
    collapsing = Cleaner(collapse_whitespace=True, lowercase=True)
    assert collapsing.beginning(" To  be \t") == "to be "
    assert collapsing.beginning("A\n\n\n\n") == "a\n\n"
    assert collapsing.beginning(" \n ") == ""
    assert Cleaner(lowercase=True).beginning("  A ") == "  a "


def test_steps_are_kept_by_name():
    cleaner = Cleaner(unicode_normalization="NFC", lowercase=True)
    assert cleaner.to_dict() == {"unicode_normalization": "NFC", "lowercase": True}
    assert cleaner.steps == ["NFC", "lowercase"]
    assert Cleaner.from_dict(cleaner.to_dict()) == cleaner
    assert Cleaner.from_dict({}) == Cleaner()
    assert cleaner.joined(Cleaner(strip_html=True, unicode_normalization="NFKC")) == Cleaner(
        strip_html=True, unicode_normalization="NFKC", lowercase=True
    )
    assert Cleaner(unicode_normalization="NFKC").joined(cleaner).unicode_normalization == "NFKC"
    for wrong in (
        {"upper": True},
        {"lowercase": 1},
        {"lowercase": "yes"},
        {"unicode_normalization": "NFD"},
        [],
    ):
        with pytest.raises(ValueError, match=r"cleaning step"):
            Cleaner.from_dict(wrong)
