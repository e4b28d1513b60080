"""Counts by hand, smoothing against a reference of dictionaries and against NLTK, files against KenLM and arpa."""

import collections
import contextlib
import errno
import importlib
import io
import itertools
import json
import tempfile
import zipfile

import numpy as np
import pytest

from tfscale.errors import ConfigError, DataError, ExportError, TfscaleError
from tfscale.files.npz import read_npz
from tfscale.inference.generation import generate
from tfscale.ngram import NGramModel, count, count_ngrams, estimate, model, read_arpa, write_arpa
from tfscale.ngram.arpa import token_names
from tfscale.ngram.decoder import NGramDecoder
from tfscale.text.tokenizers import train_tokenizer
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.special import SpecialTokens

# The package has a function of the module's name.
smoothing = importlib.import_module("tfscale.ngram.estimate")
END = 0


def stream(documents=60, vocabulary=9, seed=0):
    """Documents of a few tokens, each token often what another one calls for, END after each."""
    rng = np.random.default_rng(seed)
    tokens = []
    for _ in range(documents):
        token = int(rng.integers(1, vocabulary))
        for _ in range(rng.integers(0, 12)):
            tokens.append(token)
            token = (
                token * 3 % vocabulary or 1
                if rng.random() < 0.5
                else int(rng.integers(1, vocabulary))
            )
        tokens.append(END)
    return np.array(tokens)


def fit(tokens, order, vocabulary=9, min_counts=(), **options):
    with count_ngrams(
        [tokens], order=order, vocabulary_size=vocabulary, end_id=END, **options
    ) as counts:
        return estimate(counts, vocabulary_size=vocabulary, end_id=END, min_counts=min_counts)


def as_dictionary(counts, k, vocabulary):
    """The n-grams of order k as tuples with their counts."""
    bits = np.uint64(count.token_bits(vocabulary))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    found = {}
    for key, times in zip(counts[k - 1].keys, counts[k - 1].counts, strict=True):
        tokens, below = [], k - 1
        while below:
            tokens.insert(0, int(key & mask))
            key, below = counts[below - 1].keys[int(key >> bits)], below - 1
        found[(int(key), *tokens)] = int(times)
    return found


def documents_of(tokens):
    document = []
    for token in map(int, tokens):
        document.append(token)
        if token == END:
            yield document
            document = []


def ngrams_of(tokens, k):
    found = collections.Counter()
    for document in documents_of(tokens):
        padded = [END, *document]
        found.update(tuple(padded[i : i + k]) for i in range(len(padded) - k + 1))
    return found


class Reference:
    """Modified Kneser-Ney from the paper's equations, one dictionary an order."""

    def __init__(self, tokens, order, vocabulary, min_counts):
        self.vocabulary, self.order = vocabulary, order
        self.raw = {k: ngrams_of(tokens, k) for k in range(2, order + 1)}
        self.raw[1] = collections.Counter((int(token),) for token in tokens)
        self.counts = {order: dict(self.raw[order])}
        for k in range(order - 1, 0, -1):
            left = collections.Counter(gram[1:] for gram in self.raw[k + 1])
            self.counts[k] = {
                gram: self.raw[k][gram] if k > 1 and gram[0] == END else left[gram]
                for gram in self.raw[k]
            }
        self.least = [*min_counts, *[min_counts[-1]] * order][:order]
        self.discounts = {k: self.estimated(k) for k in self.counts}

    def estimated(self, k):
        n = [sum(1 for c in self.counts[k].values() if c == i) for i in range(5)]
        if min(n[1:4]):
            y = n[1] / (n[1] + 2 * n[2])
            found = [1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
            if all(0 < d < i + 1 for i, d in enumerate(found)):
                return found
        return [0.5, 1.0, 1.5]

    def probability(self, context, token):
        k = len(context) + 1
        followers = {gram: c for gram, c in self.counts[k].items() if gram[:-1] == context}
        lower = self.probability(context[1:], token) if k > 1 else 1 / self.vocabulary
        total = sum(followers.values())
        if not total:
            return lower
        kept = {g: c for g, c in followers.items() if self.raw[k][g] >= self.least[k - 1]}
        mass = {g: c - self.discounts[k][min(c, 3) - 1] if c else 0.0 for g, c in kept.items()}
        return mass.get((*context, token), 0.0) / total + (1 - sum(mass.values()) / total) * lower


@pytest.mark.parametrize("run_tokens", [1_000_000, 7])
def test_counts_by_hand(run_tokens, monkeypatch):
    monkeypatch.setattr(count, "RUN_TOKENS", run_tokens)
    # <s> 1 2 1 2 </s> and <s> 1 </s>
    tokens = np.array([1, 2, 1, 2, END, 1, END])
    with count_ngrams([tokens[:3], tokens[3:]], order=3, vocabulary_size=3, end_id=END) as found:
        assert found[0].counts.tolist() == [2, 3, 2]
        assert as_dictionary(found, 2, 3) == {(0, 1): 2, (1, 0): 1, (1, 2): 2, (2, 0): 1, (2, 1): 1}
        expected = {(0, 1, 0): 1, (0, 1, 2): 1, (1, 2, 0): 1, (1, 2, 1): 1, (2, 1, 2): 1}
        assert as_dictionary(found, 3, 3) == expected


@pytest.mark.parametrize("run_tokens", [11, 100])
def test_runs_and_merges_do_not_change_the_counts(run_tokens, monkeypatch):
    monkeypatch.setattr(count, "MERGE_ENTRIES", 20)
    monkeypatch.setattr(count, "RUN_TOKENS", run_tokens)
    tokens = stream()
    with count_ngrams([tokens], order=4, vocabulary_size=9, end_id=END, threads=3) as found:
        for k in (2, 3, 4):
            assert as_dictionary(found, k, 9) == dict(ngrams_of(tokens, k))
            assert (np.diff(found[k - 1].keys.astype(np.int64)) > 0).all()


@pytest.mark.parametrize("min_counts", [[1], [1, 1, 2], [1, 2, 2, 3]])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_probabilities_equal_the_papers_equations(order, min_counts, monkeypatch):
    # Through several parts, as with many n-grams; and with discounts that are estimated, as with many tokens.
    monkeypatch.setattr(smoothing, "_PART", 10)
    tokens = stream(documents=120)
    reference = Reference(tokens, order, 9, min_counts)
    assert order == 1 or reference.discounts[order] != [0.5, 1.0, 1.5]
    found = fit(tokens, order, min_counts=min_counts)
    contexts = [
        c for n in range(order) for c in itertools.product(range(9), repeat=n) if END not in c[1:]
    ]
    rng = np.random.default_rng(1)
    for index in rng.choice(len(contexts), min(40, len(contexts)), replace=False):
        context = contexts[index]
        # A full context: shorter ones are those of the shorter orders.
        if len(context) < order - 1 and END not in context:
            continue
        expected = [reference.probability(context, token) for token in range(9)]
        assert sum(expected) == pytest.approx(1)
        np.testing.assert_allclose(
            np.exp(found.next_log_probabilities(context)), expected, rtol=1e-5
        )


def test_bigrams_equal_nltk(monkeypatch):
    """NLTK's Kneser-Ney has one discount, and none for unigrams."""
    from nltk.lm import KneserNeyInterpolated
    from nltk.lm.preprocessing import padded_everygram_pipeline

    calls = iter([np.zeros(4), np.array([0.0, 0.3, 0.3, 0.3])])
    monkeypatch.setattr(smoothing, "_discounts", lambda adjusted: next(calls))
    tokens = stream()
    found = fit(tokens, 2)
    texts = [[str(token) for token in document[:-1]] for document in documents_of(tokens)]
    theirs = KneserNeyInterpolated(2, discount=0.3)
    theirs.fit(*padded_everygram_pipeline(2, texts))
    for context in range(9):
        probabilities = np.exp(found.next_log_probabilities([context]))
        for token in range(9):
            names = {END: "</s>"}.get(token, str(token)), {END: "<s>"}.get(context, str(context))
            assert probabilities[token] == pytest.approx(
                theirs.score(names[0], [names[1]]), rel=1e-5
            )


@pytest.mark.parametrize("order", [1, 2, 5])
def test_scores_of_a_stream_are_those_of_each_token(order, monkeypatch):
    monkeypatch.setattr(model, "_CHUNK", 13)
    found = fit(stream(), order)
    tokens = stream(documents=20, seed=5)
    expected, context = [], [END]
    for token in map(int, tokens):
        distribution = found.next_log_probabilities(context)
        assert np.exp(distribution.astype(float)).sum() == pytest.approx(1, abs=1e-5)
        expected.append(distribution[token])
        context = [END] if token == END else [*context, token]
    np.testing.assert_allclose(found.log_probabilities(tokens), expected, rtol=1e-5)
    score = found.score(tokens, utf8_bytes=100)
    assert score.nll == pytest.approx(-np.sum(expected), rel=1e-5)
    assert (score.tokens, score.utf8_bytes) == (len(tokens), 100)


def test_a_document_does_not_depend_on_the_one_before():
    found = fit(stream(), 4)
    one, other = stream(3, seed=7), stream(3, seed=8)
    np.testing.assert_array_equal(
        found.log_probabilities(np.concatenate([other, one]))[len(other) :],
        found.log_probabilities(one),
    )


def saved(found):
    file = io.BytesIO()
    found.save(file)
    return file.getvalue()


def test_files_hold_the_model_and_quantized_ones_take_a_byte_per_number(tmp_path):
    found = fit(stream(documents=3000, vocabulary=40), 4, vocabulary=40)
    path = tmp_path / "model.ngram"
    path.write_bytes(saved(found))
    read = NGramModel.load(str(path))
    tokens = stream(100, 40, seed=3)
    np.testing.assert_array_equal(read.log_probabilities(tokens), found.log_probabilities(tokens))
    assert read.sizes == found.sizes
    small = found.quantized()
    path.write_bytes(saved(small))
    read = NGramModel.load(str(path))
    np.testing.assert_array_equal(read.log_probabilities(tokens), small.log_probabilities(tokens))
    for level, exact in zip(small.levels, found.levels, strict=True):
        assert len(np.unique(level.log_probabilities)) <= 256 >= len(np.unique(level.log_backoffs))
        assert np.abs(level.log_probabilities - exact.log_probabilities).max() < 0.1
    # A byte for the token and a byte each for two numbers, and what names the children.
    assert path.stat().st_size < 3.3 * sum(found.sizes) + 12_000 < len(saved(found))


def byte_model(order=4, min_counts=()):
    tokenizer = ByteTokenizer()
    texts = ["the cat sat on the mat", "the dog\tsat", "naïve 狐 <s> x", "", "a cat sat"] * 3 + [
        "the rat sat on a cat"
    ]
    ids = [[*tokenizer.encode(text), tokenizer.end_id] for text in texts]
    with count_ngrams(
        [np.concatenate(ids)], order=order, vocabulary_size=257, end_id=tokenizer.end_id
    ) as counts:
        return (
            tokenizer,
            estimate(counts, vocabulary_size=257, end_id=tokenizer.end_id, min_counts=min_counts),
            ids,
        )


@pytest.mark.parametrize("min_counts", [[1], [1, 1, 3]])
def test_arpa_files_come_back_and_others_read_them_alike(min_counts, tmp_path):
    import arpa

    tokenizer, found, ids = byte_model(min_counts=min_counts)
    path = str(tmp_path / "model.arpa")
    write_arpa(found, tokenizer, path)
    read = read_arpa(path, tokenizer)
    tokens = np.concatenate([*ids, tokenizer.encode("unseen words"), [tokenizer.end_id]])
    np.testing.assert_allclose(
        read.log_probabilities(tokens), found.log_probabilities(tokens), atol=2e-6
    )
    assert read.sizes == found.sizes
    theirs = arpa.loadf(path)[0]
    names = token_names(tokenizer)
    sentence = " ".join(names[token] for token in tokenizer.encode("a rat sat"))
    ours = found.score([*tokenizer.encode("a rat sat"), tokenizer.end_id]).nll
    assert -theirs.log_s(sentence) * np.log(10) == pytest.approx(ours, rel=1e-5)


def test_perplexities_equal_kenlms(tmp_path):
    kenlm = pytest.importorskip(
        "kenlm", reason="KenLM is compiled when it is installed: pip install kenlm"
    )
    tokenizer, found, ids = byte_model(min_counts=[1, 1, 2])
    write_arpa(found, tokenizer, str(tmp_path / "model.arpa"))
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    names = token_names(tokenizer)
    for document in [*ids[:5], [*tokenizer.encode("the bat ate"), tokenizer.end_id]]:
        log10 = theirs.score(" ".join(names[token] for token in document[:-1]))
        assert -log10 * np.log(10) == pytest.approx(found.score(document).nll, rel=1e-5)


FOREIGN = (
    "\\data\\\nngram 1=5\nngram 2=2\n\n\\1-grams:\n-1\t<unk>\n-99\t<s>\t-0.5\n-0.5\t</s>\n-0.6\ta\t-0.2\n"
    "-0.7\tb\n\n\\2-grams:\n-0.1\t<s> a\n-0.3\ta b\n\n\\end\\\n"
)


def test_an_arpa_file_of_another_program(tmp_path):
    path = tmp_path / "model.arpa"
    path.write_text(FOREIGN)
    tokenizer = ByteTokenizer()
    found = read_arpa(str(path), tokenizer)
    a, b, end = ord("a"), ord("b"), tokenizer.end_id
    log10 = found.log_probabilities([a, b, end]) / np.log(10)
    # <s> a; a b; the back-off of b, which has none, and the end
    np.testing.assert_allclose(log10, [-0.1, -0.3, -0.5], rtol=1e-6)
    np.testing.assert_allclose(
        found.log_probabilities([a, a]) / np.log(10), [-0.1, -0.2 - 0.6], rtol=1e-6
    )
    # What the file does not know shares the probability of <unk>: 257 bytes and the end token without a, b, the end.
    assert found.log_probabilities([ord("c")])[0] / np.log(10) == pytest.approx(
        -0.5 - 1 - np.log10(254)
    )


def test_tokens_that_an_arpa_file_lacks_share_its_unknown_token(tmp_path):
    """This holds whether or not the tokenizer has one of its own; to score them as impossible would be 228 nats each."""
    path = tmp_path / "model.arpa"
    path.write_text(FOREIGN)
    tokenizer = train_tokenizer("char", ["abcd"], 300)
    found = read_arpa(str(path), tokenizer)
    chances = np.exp(
        [found.log_probabilities([token])[0] for token in range(tokenizer.vocabulary_size)]
    )
    (c, d), unknown = tokenizer.encode("cd"), tokenizer.unknown_id
    # At the beginning of a text, after <s> and its back-off; <unk> itself and two letters share its part.
    assert chances[[c, d, unknown]] == pytest.approx([10**-1.5 / 3] * 3)


def test_an_arpa_file_of_single_tokens_has_no_back_off(tmp_path):
    tokenizer, found, ids = byte_model(order=1)
    write_arpa(found, tokenizer, str(tmp_path / "model.arpa"))
    read = read_arpa(str(tmp_path / "model.arpa"), tokenizer)
    tokens = np.concatenate(ids)
    np.testing.assert_allclose(
        read.log_probabilities(tokens), found.log_probabilities(tokens), atol=2e-6
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("ngram 2=2", "ngram 2=3"), "has 2 2-grams, and its header says 3"),
        (("ngram 1=5", "ngram 1=4"), "has 5 1-grams, and its header says 4"),
        (("\\data\\", "\\date\\"), "is not an ARPA file: it has no line"),
        (("\\end\\", ""), "is cut short"),
        (("a b", "a 狐"), "line 14: '狐' is not a token of the tokenizer"),
        (("-0.3\ta b", "-0.3\tc b"), "line 14: the 2-gram 'c b' has no 1-gram 'c'"),
        (("-0.3\ta b", "-0.3\t<s> a"), "line 14: the n-gram occurs twice"),
        (("-0.3\ta b", "-0.3\ta <s>"), "line 14: <s> is word 2 of a 2-gram"),
        (("-0.3\ta b", "0.3\ta b"), "line 14: expected a base-10 logarithm, 2 words"),
        (("-0.3\ta b", "x\ta b"), "line 14: expected a base-10 logarithm"),
        (("-0.3\ta b", "nan\ta b"), "line 14: expected a base-10 logarithm"),
        (("-0.3\ta b", "-0.3\ta"), "line 14: expected a base-10 logarithm"),
        (("ngram 2=2", "ngram 3=2"), "line 3: expected 'ngram 2=COUNT'"),
        (("\\2-grams:", "\\3-grams:"), "line 12: expected \\\\2-grams:"),
    ],
)
def test_arpa_files_that_lie_are_named(change, message, tmp_path):
    path = tmp_path / "model.arpa"
    path.write_text(FOREIGN.replace(*change))
    if change[1].endswith("c b"):
        # An n-gram needs its context, not only its words: bytes are all unigrams here, so try with a trigram.
        path.write_text(
            FOREIGN.replace("ngram 2=2", "ngram 2=2\nngram 3=1").replace(
                "\n\n\\end", "\n\n\\3-grams:\n-0.1\tb a b\n\n\\end"
            )
        )
        message = "line 18: the 3-gram 'b a b' has no 2-gram 'b a'"
    with pytest.raises(DataError, match=message):
        read_arpa(str(path), ByteTokenizer())


@pytest.mark.parametrize("min_counts", [[2], [1, 3, 2], [0]])
def test_counts_that_cannot_be_kept(min_counts):
    with contextlib.ExitStack() as stack:
        counts = stack.enter_context(
            count_ngrams([stream()], order=3, vocabulary_size=9, end_id=END)
        )
        with pytest.raises(ConfigError, match="must begin with 1"):
            estimate(counts, vocabulary_size=9, end_id=END, min_counts=min_counts)


def test_bad_tokens_and_damaged_files_are_named(tmp_path):
    with (
        pytest.raises(DataError, match="must be 0 to 8; received 0 to 9"),
        count_ngrams([np.array([9, 0])], order=2, vocabulary_size=9, end_id=END),
    ):
        pass
    with (
        pytest.raises(DataError, match="no tokens to count"),
        count_ngrams([], order=2, vocabulary_size=9, end_id=END),
    ):
        pass
    with pytest.raises(DataError, match="must be 0 to 8; received 9 to 9"):
        fit(stream(), 2).score([9])
    path = tmp_path / "model.ngram"
    path.write_bytes(saved(fit(stream(), 2))[:-300])
    with pytest.raises(ExportError, match="is not an n-gram model, or is damaged"):
        NGramModel.load(str(path))


def described(**changes):
    text = {"format_version": 1, "order": 2, "vocabulary_size": 9, "end_id": END} | changes
    return {"description": np.frombuffer(json.dumps(text).encode(), np.uint8)}


@pytest.mark.parametrize(
    "change,reason",
    [
        (described(vocabulary_size=2_000_000_000), "its vocabulary cannot be"),
        (described(vocabulary_size="9"), "vocabulary_size should be a whole number"),
        (described(end_id=9), "its order, vocabulary and end token cannot be"),
        (described(order=0), "its order, vocabulary and end token cannot be"),
        (described(order=-1), "its order, vocabulary and end token cannot be"),
        (described(order=3), "backoffs_2_values"),
        ({"children_2": np.full(9, 1 << 40, np.uint64)}, "the 2-grams cannot be"),
        ({"children_2": np.zeros(9, np.uint8)}, "the 2-grams cannot be"),
        ({"children_2": np.zeros(8, np.uint8)}, "the 2-grams cannot be"),
        ({"tokens_2": lambda old: np.full_like(old, 200)}, "the tokens of 2-grams cannot be"),
        ({"tokens_2": lambda old: np.sort(old)[::-1]}, "the order of the 2-grams cannot be"),
        ({"probabilities_1_codes": lambda old: old + 100}, "the codes of 1-grams cannot be"),
        (
            {"probabilities_2_values": lambda old: old * np.nan},
            "the probabilities of 2-grams cannot be",
        ),
        ({"backoffs_1_codes": lambda old: old[:-1]}, "the 1-grams cannot be"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_file_of_somebody_else_is_checked_before_it_is_believed(tmp_path, change, reason):
    path = tmp_path / "model.ngram"
    path.write_bytes(saved(fit(stream(), 2)))
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays |= {
        name: value(arrays[name]) if callable(value) else value for name, value in change.items()
    }
    with path.open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ExportError, match=f"is not an n-gram model, or is damaged .*{reason}"):
        NGramModel.load(str(path))


def test_a_file_that_is_small_because_it_is_compressed_is_refused(tmp_path):
    path = tmp_path / "model.ngram"
    with path.open("wb") as file:
        np.savez_compressed(file, **described(), tokens_3=np.zeros(30_000_000, np.uint8))
    assert path.stat().st_size < 40_000
    with pytest.raises(ExportError, match="its arrays are larger than the file"):
        NGramModel.load(str(path))


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 40, 1 << 40), (3,), (-1,)])
def test_an_array_whose_head_lies_is_refused_before_it_is_allocated(shape):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            head, {"descr": "<f8", "fortran_order": False, "shape": shape}
        )
        archive.writestr("a.npy", head.getvalue() + bytes(16))
    with pytest.raises(ValueError, match=r"a.npy has another size than its head says"):
        read_npz(file)


@pytest.mark.parametrize("head", [b"{'descr': '<f8', (", b"{'descr': <f8}", b"[]", b"\xff", b""])
def test_an_array_whose_head_is_no_head_is_refused(head):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(ValueError):
        read_npz(file)


def test_all_that_numpy_saves_is_read_as_numpy_reads_it():
    file = io.BytesIO()
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        "c": np.array(3),
        "d": np.zeros((0, 4), bool),
    }
    np.savez(file, **arrays)
    for name, value in read_npz(file).items():
        assert value.dtype == arrays[name].dtype
        np.testing.assert_array_equal(value, arrays[name])


def test_a_full_disk_is_told_with_the_folder_that_is_full(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    tokens = stream()
    monkeypatch.setattr("tfscale.ngram.count.append", full)
    for beside, where in (
        (str(tmp_path / "run"), f"{tmp_path}; make room there, or give another --output"),
        ("", f"{tempfile.gettempdir()}; make room there, or name .* by the variable TMPDIR"),
    ):
        with pytest.raises(TfscaleError, match=f"no space left for temporary files in {where}"):
            with count_ngrams([tokens], order=2, vocabulary_size=9, end_id=END, beside=beside):
                pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_of_somebody_else_is_not_that_of_the_temporary_files():
    theirs = OSError(errno.ENOSPC, "No space left on device")

    def blocks():
        yield stream()
        raise theirs

    for given, error in ((blocks(), None), ([stream()], theirs)):
        with pytest.raises(OSError) as raised:
            with count_ngrams(given, order=2, vocabulary_size=9, end_id=END):
                raise error
        assert raised.value is theirs


def test_it_writes_text():
    tokenizer, found, _ = byte_model()
    text = generate(NGramDecoder(found), tokenizer, "the c", 40).text
    assert text == "at sat"
    # It counts an end token before each document, whatever token the tokenizer begins a text with.
    started = tokenizer.with_special(SpecialTokens(start_id=0))
    assert generate(NGramDecoder(found, 0), started, "the c", 40).text == text
    begun = [NGramDecoder(found, 0).feed([token]) for token in (0, tokenizer.end_id)]
    np.testing.assert_array_equal(*begun)
