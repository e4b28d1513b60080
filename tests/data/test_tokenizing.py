import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tfscale.data.manifest import token_dtype
from tfscale.data.splits import SPLITS, Borders, Part
from tfscale.data.spool import Documents, SpoolWriter
from tfscale.data.tokenizing import BatchEncoder, _Encoding, encode_batches
from tfscale.data.workers import Worker
from tfscale.errors import TfscaleError
from tfscale.text.tokenizers.kinds.byte import ByteTokenizer
from tfscale.text.tokenizers.kinds.char import CharacterTokenizer

BORDERS = Borders(test=10, validation=20)


@pytest.fixture
def spool(tmp_path):
    path = str(tmp_path / "spool")
    with SpoolWriter(path) as writer:
        writer.add("train é", 30)
        writer.add("test", 5)
        writer.add("held out by name", 30, "validation")
        writer.add("valid", 15)
        writer.add("word " * 300_000, 99)
        writer.add("end", 99)
    return writer.spool(BORDERS)


def test_a_spool_gives_back_its_documents(spool):
    pieces, batches = list(spool.all_pieces()), spool.batches
    documents, splits, text = [], [], ""
    for piece in pieces:
        assert piece.first == (not text)
        text += piece.text
        assert len(piece.text) <= 65_541
        if piece.last:
            documents.append(text)
            splits.append(piece.part.split)
            text = ""
    assert documents == ["train é", "test", "held out by name", "valid", "word " * 300_000, "end"]
    assert splits == ["train", "test", "validation", "validation", "train", "train"]
    assert len(batches) == 2
    assert batches[0].start == 0
    assert batches[1].start == batches[0].end
    assert batches[1].end == os.path.getsize(spool.path)
    assert sum(batch.text_bytes for batch in batches) == len("".join(documents).encode())


def test_a_spool_is_the_same_by_one_document_or_many_at_a_time(tmp_path):
    texts = ["é" * (number % 300) + "a" for number in range(8_000)]
    # A piece of it is larger than a batch, and batches end before and after it.
    texts[3_000] = "word " * 20_000 + "x" * 1_200_000 + " end" * 30_000
    places = np.arange(len(texts), dtype=np.uint64) * np.uint64(2**40)
    one, many = (SpoolWriter(str(tmp_path / name)) for name in ("one", "many"))
    with one, many:
        for text, place in zip(texts, places.tolist(), strict=True):
            one.add(text, place)
        for start in range(0, len(texts), 2_500):
            some = slice(start, start + 2_500)
            contents = [text.encode() for text in texts[some]]
            many.add_all(Documents(texts[some], contents, places[some]))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()
    spool = many.spool(BORDERS)
    assert spool.batches == one.spool(BORDERS).batches
    assert len(spool.batches) > 2
    pieces = list(spool.all_pieces())
    assert "".join(piece.text for piece in pieces) == "".join(texts)
    # By hand: a batch ends with the piece by which text and rows, 16 bytes each, pass 1 MiB.
    weights = [len(piece.text.encode()) + 16 for piece in pieces]
    ends, weight = [], 0
    for number, each in enumerate(weights, 1):
        weight += each
        if weight > 1 << 20 or number == len(weights):
            ends.append(number)
            weight = 0
    assert np.cumsum([batch.pieces for batch in spool.batches]).tolist() == ends


def test_an_empty_spool(tmp_path):
    with SpoolWriter(str(tmp_path / "spool")) as writer:
        pass
    spool = writer.spool(BORDERS)
    assert (spool.batches, list(spool.all_pieces())) == ([], [])


def test_a_spool_keeps_sources_apart(tmp_path):
    with SpoolWriter(str(tmp_path / "spool")) as writer:
        writer.add("a web page", 30, source="web")
        writer.add("held out", 5, source="code")
        writer.add("named", 5, "validation")
    pieces = list(writer.spool(BORDERS).all_pieces())
    assert [piece.part for piece in pieces] == [
        Part("train", "web"),
        Part("test", "code"),
        Part("validation"),
    ]


def test_borders_above_all_hashes_hold_out_everything():
    places = np.array([0, 9, 10, 2**64 - 1], np.uint64)
    for borders in (Borders(10, 2**64), Borders(2**64, 2**64), Borders(0, 10), Borders(0, 0)):
        named = [SPLITS[index] for index in borders.splits_of(places)]
        assert named == [borders.split_of(int(place)) for place in places]


def test_tokens_and_counts_of_each_split(spool):
    first, second = map(BatchEncoder(ByteTokenizer(), spool), spool.batches)
    assert np.frombuffer(first[Part("test")].content, "<u2").tolist() == [*b"test", 256]
    assert np.frombuffer(first[Part("validation")].content, "<u2").tolist() == [
        *b"held out by name",
        256,
        *b"valid",
        256,
    ]
    assert np.frombuffer(first[Part("train")].content, "<u2")[:9].tolist() == [
        *"train é".encode(),
        256,
    ]
    counts = [
        (part.documents, part.tokens, part.utf8_bytes)
        for part in (first[Part("validation")], first[Part("test")])
    ]
    assert counts == [(2, 23, 21), (1, 5, 4)]
    # The long document lies in both batches and ends in the second.
    assert (first[Part("train")].documents, second[Part("train")].documents) == (1, 2)
    assert first[Part("train")].utf8_bytes + second[Part("train")].utf8_bytes == 8 + 1_500_000 + 3
    assert first[Part("train")].tokens + second[Part("train")].tokens == 9 + 1_500_001 + 4


def test_large_vocabularies_take_four_bytes(tmp_path):
    assert [token_dtype(size) for size in (4, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
    with SpoolWriter(str(tmp_path / "spool")) as writer:
        writer.add(chr(70_002), 99)
    tokenizer = CharacterTokenizer([chr(0x10000 + n) for n in range(70_000)])
    spool = writer.spool(BORDERS)
    encoder = BatchEncoder(tokenizer, spool)
    assert np.frombuffer(encoder(spool.batches[0])[Part("train")].content, "<u4").tolist() == [
        70_002 - 0x10000 + 2,
        1,
    ]


def test_processes_give_the_same_as_this_one(spool, tmp_path):
    tokenizer = ByteTokenizer()
    tokenizer.save(str(tmp_path / "tokenizer"))
    arguments = (tokenizer, str(tmp_path / "tokenizer"), spool)
    alone = list(encode_batches(*arguments, processes=1))
    together = list(encode_batches(*arguments, processes=2, small=0))
    assert together == alone
    assert [part[Part("train")].content for part in together] == [
        part[Part("train")].content for part in alone
    ]


def test_a_process_that_dies_is_an_error_of_one_line(spool, tmp_path):
    ByteTokenizer().save(str(tmp_path / "tokenizer"))
    job = _Encoding((ByteTokenizer.__module__,), str(tmp_path / "tokenizer"), spool)
    worker = Worker(job)
    try:
        assert worker(spool.batches[0])[Part("test")].tokens == 5
        worker._process.send_signal(signal.SIGKILL)
        worker._process.wait()
        with pytest.raises(TfscaleError, match="ended with exit code -9 .*--processes 1"):
            worker(spool.batches[1])
    finally:
        worker.close()


def test_processes_do_not_import_tensorflow():
    code = "import sys, tfscale.data.tokenizing; print(sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )
