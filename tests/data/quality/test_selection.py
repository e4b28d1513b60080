"""From text with good and bad documents to a data folder: what is left, and what is counted."""

import json
import random
import re

import pytest

import tfscale
from tfscale import cli
from tfscale.config import PrepareConfig
from tfscale.data import keeping
from tfscale.data.manifest import Manifest
from tfscale.data.quality import selection as module
from tfscale.data.quality.decontamination import Decontamination
from tfscale.data.quality.examining import CLEANED_AWAY, Examiner
from tfscale.data.quality.selection import Selection, is_asked_for
from tfscale.data.splits import Part
from tfscale.data.spooling import nothing_left
from tfscale.errors import ConfigError, DataError
from tfscale.text.cleaning import Cleaner

WORDS = (
    "the be to of and that have with lighthouse keeper counted ships passed before dawn rain came"
    " west smell cut grass nobody remembered painted door green train stopped between stations"
    " passengers looked harbour lamps burned red white yellow"
).split()
GERMAN = "Das ist ein Haus mit einem roten Dach und einem schönen Garten, in dem Blumen blühen."


def prose(seed):
    """Four lines of English words that are different for each seed."""
    rng = random.Random(seed)
    return "\n".join(
        " ".join(rng.choices(WORDS, k=rng.randint(14, 18))).capitalize() + "." for _ in range(4)
    )


GOOD = [prose(seed) for seed in range(40)]
BAD = [
    GOOD[3],  # the same
    GOOD[5].replace("\n", " ").upper(),  # without case and line ends the same
    "This is the text of a document that is too short.",
    "\n".join([prose(50).splitlines()[0]] * 9),
    " ".join(["12345"] * 60),
    GERMAN * 4,
    f"{GOOD[7][:20]} write to jane@example.org {prose(51)}",
    prose(60),  # in the evaluation text
]
OPTIONS = {
    "filters": ["gopher_quality", "gopher_repetition"],
    "languages": ["en"],
    "remove": ["emails"],
    "near_duplicates": 0.8,
    "drop_duplicates": True,
}
COUNTS = {
    "duplicates": 1,
    "near_duplicates": 1,
    "removed/emails": 1,
    "dropped/gopher_quality/word_count": 1,
    "dropped/gopher_repetition/duplicate_lines": 1,
    "dropped/language/other_language": 2,
    "evaluation_documents": 1,
    "evaluation_documents_too_short": 0,
}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "text.txt").write_text("\n\n".join([*GOOD, *BAD]))
    (tmp_path / "eval.txt").write_text(f"Before it. {prose(60)} After it.")
    return tmp_path


def kept_texts(selection, texts):
    batches = keeping.batches_of(texts)
    return [text for documents in selection.kept(batches) for text in documents.texts]


def select(texts, processes=1, **options):
    config = PrepareConfig(text=["text.txt"], output="data", **options)
    selection = Selection(config, Cleaner(), processes, progress=False)
    return kept_texts(selection, texts), selection


def test_what_is_kept_and_what_is_counted(files):
    evaluation = str(files / "eval.txt")
    kept, selection = select([*GOOD, *BAD], decontaminate=[evaluation], **OPTIONS)
    assert kept == [*GOOD, BAD[6].replace("jane@example.org", "<email>")]
    counts = {**COUNTS, f"dropped/decontaminate/{evaluation}": 1}
    assert {name: count for name, count in selection.counts.items()} == counts
    assert selection.described["languages_by"].startswith("py3langid ")
    assert selection.described["near_duplicate_signatures"]["bands"] == 16


def test_documents_of_several_sources_are_compared_with_each_other():
    config = PrepareConfig(text=["a"], output="b", near_duplicates=0.8, drop_duplicates=True)
    selection = Selection(config, Cleaner(), 1, progress=False)
    assert kept_texts(selection, GOOD[:2]) == GOOD[:2]
    again = [GOOD[0], GOOD[1].upper(), GOOD[2]]
    assert kept_texts(selection, again) == GOOD[2:3]
    assert selection.counts == {"duplicates": 1, "near_duplicates": 1}


def test_any_number_of_processes_gives_the_same(files, monkeypatch):
    monkeypatch.setattr(module, "_SMALL", 1)
    monkeypatch.setattr(keeping, "BATCH_CHARACTERS", 1500)
    options = {**OPTIONS, "decontaminate": [str(files / "eval.txt")], "report": True}
    alone, one = select([*GOOD, *BAD], 1, **options)
    together, two = select(iter([*GOOD, *BAD]), 2, **options)
    assert together == alone
    assert two.counts == one.counts
    assert two.statistics.languages == one.statistics.languages
    assert two.statistics.reasons == one.statistics.reasons
    for reason in one.statistics.reasons:
        assert two.statistics.samples(reason) == one.statistics.samples(reason)


def test_the_command_line_and_python_write_the_same(files, capsys):
    text, evaluation = str(files / "text.txt"), str(files / "eval.txt")
    common = {"documents": "paragraph", "tokenizer": "byte", "seed": 3}
    options = {**OPTIONS, "decontaminate": [evaluation], **common, "processes": 1}
    manifest = tfscale.prepare(text=text, output=str(files / "a"), **options, progress=False)
    words = (
        "--filters gopher_quality gopher_repetition --languages en --remove emails"
        " --near-duplicates 0.8 --drop-duplicates true --documents paragraph --tokenizer byte"
        " --seed 3 --processes 1"
    ).split()
    arguments = [*words, "--decontaminate", evaluation]
    assert cli.main(["prepare", "--text", text, "--output", str(files / "b"), *arguments]) == 0
    assert (files / "a/manifest.json").read_bytes() == (files / "b/manifest.json").read_bytes()
    assert sum(split.documents for split in manifest.splits.values()) == len(GOOD) + 1
    counts = Manifest.load(str(files / "a"), "sha256").counts
    assert {name: counts[name] for name in COUNTS} == COUNTS
    shown = capsys.readouterr().out
    assert re.search(r"dropped: near duplicates +│ +1 ", shown)
    assert re.search(r"dropped: gopher quality: word count +│ +1 ", shown)
    assert re.search(r"removed: emails +│ +1 ", shown)
    assert "dropped: decontaminate: " in shown


def test_texts_that_are_named_for_validation_are_kept_whole(files):
    (files / "valid.txt").write_text("Too short.")
    manifest = tfscale.prepare(
        text=str(files / "text.txt"),
        validation_text=str(files / "valid.txt"),
        test_fraction=0,
        documents="paragraph",
        tokenizer="byte",
        output=str(files / "data"),
        progress=False,
        **OPTIONS,
    )
    assert manifest.splits["validation"].utf8_bytes == len("Too short.")
    assert manifest.counts["dropped/gopher_quality/word_count"] == 1


def test_nothing_changes_where_nothing_is_asked_for():
    assert not is_asked_for(PrepareConfig(text=["a"], output="b", drop_duplicates=True))
    assert is_asked_for(PrepareConfig(text=["a"], output="b", min_characters=1))


def test_no_document_is_left(files, capsys):
    output = str(files / "data")
    words = "--documents paragraph --tokenizer byte --filters symbols --min-characters 5000"
    given = ["--text", str(files / "text.txt"), "--output", output]
    assert cli.main(["prepare", *given, *words.split()]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: no document of the train text is left: length/too_short 48"
    )
    source = nothing_left(Part("train", "web"), "a.txt", "duplicates 2")
    assert str(source) == "no document of the text of the source web is left: duplicates 2"
    assert sorted(path.name for path in files.iterdir()) == ["eval.txt", "text.txt"]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"filters": ["gopher"]}, "filters: expected one of c4, fineweb, .*received ..gopher.."),
        ({"filters": ["c4", "c4"]}, "filters names c4 more than once"),
        ({"filters": ["language"]}, "the filter language needs --languages"),
        ({"remove": ["names"]}, "remove: expected one of emails, keys, phones"),
        ({"languages": ["english"]}, "no language 'english'"),
        ({"phone_regions": ["US"]}, "phone_regions is for finding phone numbers: --remove phones"),
        ({"remove": ["phones"], "phone_regions": ["UK"]}, "no phone region 'UK'"),
        ({"near_duplicates": 1.5}, "near_duplicates=1.5 is out of range; expected 0 .off. to 1"),
        ({"near_duplicates": -0.1}, "near_duplicates=-0.1 is out of range"),
        ({"near_duplicate_bands": 113}, "near_duplicate_bands=113 .* 0 .automatic. to .* .112."),
        ({"near_duplicate_permutations": 0}, "near_duplicate_permutations=0 .* 1 to 4,096"),
        ({"near_duplicate_ngram": 0}, "near_duplicate_ngram=0 is out of range"),
        ({"decontaminate_ngram": 0}, "decontaminate_ngram=0 is out of range"),
        ({"decontaminate_ngram": 8}, "decontaminate_ngram=8 is for decontaminate, which is not"),
        ({"near_duplicate_unit": "character"}, "unit='character' is for near_duplicates, which"),
        ({"near_duplicate_bands": 8}, "near_duplicate_bands=8 is for near_duplicates, which is"),
        ({"min_characters": -1}, "min_characters=-1 is out of range"),
        ({"min_characters": 9, "max_characters": 8}, "max_characters=8 .* min_characters .9. or"),
        ({"decontaminate": ["nowhere.txt"]}, "text file or folder does not exist: nowhere.txt"),
    ],
)
def test_what_cannot_be_is_one_line(options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        select(GOOD, **options)


def test_the_command_line_names_the_closest_filter(capsys):
    words = ["prepare", "--text", "a", "--output", "b", "--filters", "c4", "gofer_quality"]
    assert cli.main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: --filters: expected one of c4, fineweb, gopher_quality, ")
    assert line.endswith("; received 'gofer_quality'; did you mean gopher_quality?")


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for options, library in (
        ({"near_duplicates": 0.8}, "rensa"),
        ({"remove": ["phones"]}, "phonenumbers"),
        ({"remove": ["keys"]}, "detect_secrets"),
    ):
        with pytest.raises(ConfigError, match=f"needs {library}, .*pip install 'tfscale.corpora.'"):
            select(GOOD, **options)


def test_decontamination_by_hand():
    evaluation = Decontamination.of(
        [("a.txt", "one two three four"), ("b.txt", "Two, three FOUR! five"), ("c", "six")], n=3
    )
    assert (evaluation.documents, evaluation.too_short, len(evaluation.hashes)) == (3, 1, 3)
    assert evaluation.match("zero one two three") == "a.txt"
    assert evaluation.match("three four five") == "b.txt"
    assert evaluation.match("x two three four") == "a.txt"  # of both, the first
    assert evaluation.match("one two four three six") is None
    assert evaluation.match("six") is None
    assert Decontamination.of([], n=3).match("one two three") is None


def test_keys_are_known_by_their_capitals():
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    config = PrepareConfig(text=["a"], output="b", remove=["keys", "emails"])
    examine = Examiner(config, Cleaner(lowercase=True, collapse_whitespace=True), None)
    [found, blank, plain] = examine([f"Its  Key is {key}\n of\tJane@Example.org ", " \t", "A  B"])
    assert found.text == "its key is <key>\nof <email>"
    assert found.counts == {"removed/keys": 1, "removed/emails": 1}
    assert blank.dropped == (CLEANED_AWAY, "") and plain.text == "a b"


def test_the_manifest_is_strict_json(files):
    tfscale.prepare(
        text=str(files / "text.txt"),
        documents="paragraph",
        tokenizer="byte",
        output=str(files / "data"),
        progress=False,
        near_duplicates=0.9,
        near_duplicate_bands=8,
    )
    how = json.loads((files / "data/manifest.json").read_text())["how"]
    assert how["near_duplicate_signatures"] == {
        "bands": 8,
        "rows": 14,
        "agreeing": 101,
        "signature": "rensa.RMinHash 2, seed 1",
    }
