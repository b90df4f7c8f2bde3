"""Checkpoint text: strict reading, exact writing."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError
from ledger.merkle import leaf_hash

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
VALID = f"example.com/behind-the-sofa\n20852163\n{ROOT}\n"
SUMDB = "go.sum database tree\n123456789012\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n"

LINES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=50)
CHECKPOINTS = st.builds(
    Checkpoint,
    LINES,
    st.integers(0, 2**64 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(LINES, max_size=3).map(tuple),
)


def test_c2sp_example_reads_and_writes_back():
    checkpoint = Checkpoint.parse(VALID)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.extensions == ()
    assert checkpoint.format() == VALID


def test_go_sumdb_tree_head():
    """An origin with spaces is legal; the root is RecordHash("hello world")."""
    checkpoint = Checkpoint.parse(SUMDB)
    assert checkpoint == Checkpoint("go.sum database tree", 123456789012, leaf_hash(b"hello world"))
    assert checkpoint.format() == SUMDB


def test_the_published_log_id_is_not_the_plain_origin_hash():
    """transparency-dev/formats' log ID of the sumdb origin is SHA-256("o:" || origin).

    It is no origin hash in the sense of tlog-witness (SHA-256 of the origin alone); the two must not be
    taken for each other when a monitoring path is built.
    """
    origin = Checkpoint.parse(SUMDB).origin.encode()
    published = "a32d071739c062f4973f1db8cc1069f517428d77105962b285bbf918c4062591"
    assert sha256(b"o:" + origin).hexdigest() == published
    assert sha256(origin).hexdigest() != published


def test_extension_lines_are_kept():
    checkpoint = Checkpoint.parse(VALID + "one\ntwo \u2028 lines\n")
    assert checkpoint.extensions == ("one", "two \u2028 lines")
    assert checkpoint.format() == VALID + "one\ntwo \u2028 lines\n"


@pytest.mark.parametrize("size", [0, 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1])
def test_sizes_at_the_edges(size):
    text = f"example.com/log\n{size}\n{ROOT}\n"
    assert Checkpoint.parse(text).size == size
    assert Checkpoint.parse(text).format() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "example.com/log\n",
        "Head\n9944\n",
        f"\n9944\n{ROOT}\n",
        f"Log\n9944\n{ROOT}",
        f"Log\nbananas\n{ROOT}\n",
        f"Log\n\n{ROOT}\n",
        f"Log\n-34\n{ROOT}\n",
        f"Log\n+34\n{ROOT}\n",
        f"Log\n 34\n{ROOT}\n",
        f"Log\n34 \n{ROOT}\n",
        f"Log\n1_000\n{ROOT}\n",
        f"Log\n007\n{ROOT}\n",
        f"Log\n00\n{ROOT}\n",
        f"Log\n\u0663\n{ROOT}\n",
        f"Log\n0x10\n{ROOT}\n",
        f"Log\n1e3\n{ROOT}\n",
        f"Log\n{2**64}\n{ROOT}\n",
        f"Log\n3438945738945739845734895735\n{ROOT}\n",
        "Log\n123\nThisIsn'tBase64\n",
        "Log\n123\nYmFuYW5hcw==\n",
        "Log\n123\n\n",
        f"Log\n123\n {ROOT}\n",
        f"Log\n123\n{ROOT} \n",
        f"Log\n123\n{ROOT[:-1]}\n",
        f"Log\n123\n{ROOT}=\n",
        f"Log\n123\n{ROOT[:10]}!{ROOT[10:]}\n",
        f"Log\n123\n{ROOT[:-2]}J=\n",  # non-zero trailing bits
        f"Log\n123\n{ROOT.replace('/', '_')}\n",
        f"Log\n123\n{ROOT}\n\n",
        f"Log\n123\n{ROOT}\n\nmore\n",
        f"Log\n123\n{ROOT}\nmore\n\n",
        f"Log\r\n123\r\n{ROOT}\r\n",
        f"Log\x1e\n123\n{ROOT}\n",
        f"Log\t\n123\n{ROOT}\n",
        f"Log\ud800\n123\n{ROOT}\n",
        f"{'x' * 256}\n123\n{ROOT}\n",
        f"{chr(0xE9) * 128}\n123\n{ROOT}\n",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "fields",
    [
        ("", 1, bytes(32)),
        ("a\nb", 1, bytes(32)),
        ("a", -1, bytes(32)),
        ("a", 2**64, bytes(32)),
        ("a", 1, bytes(31)),
        ("a", 1, bytes(33)),
        ("a", 1, bytes(32), ("",)),
        ("a", 1, bytes(32), ("x\ny",)),
    ],
)
def test_a_checkpoint_that_exists_is_valid(fields):
    with pytest.raises(NoteError):
        Checkpoint(*fields)


@given(CHECKPOINTS)
def test_checkpoints_read_back(checkpoint):
    assert Checkpoint.parse(checkpoint.format()) == checkpoint


@given(
    st.text(max_size=80) | st.builds("{}\n{}\n{}\n".format, LINES, st.from_regex(r"[0-9]{1,4}"), LINES | st.just(ROOT))
)
def test_whatever_parses_formats_back(text):
    try:
        checkpoint = Checkpoint.parse(text)
    except NoteError:
        return
    assert checkpoint.format() == text
