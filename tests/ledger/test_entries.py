"""The entry's encoding and its commitment to a payload."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.encoding import MAX_INT
from ledger.entries import Entry, commit, commits_to
from ledger.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ENTRIES = st.builds(Entry, *[TEXT] * 7, st.integers(0, MAX_INT))
EXAMPLE = Entry(
    "ab" * 32, "id", "2026-03-10T09:00:00.000Z", "urn:x", "0" * 32, "2026-03-10T08:00:00.000Z", "a.b.c.v1", 7
)


@given(ENTRIES)
def test_decode_reads_back_what_encode_wrote(entry):
    assert Entry.decode(entry.encode()) == entry


def test_the_encoding_is_sorted_canonical_json():
    """Written out, because an entry recorded today must hash the same in twenty years."""
    assert EXAMPLE.encode() == (
        b'{"commitment":"' + b"ab" * 32 + b'","id":"id","recorded":"2026-03-10T09:00:00.000Z","source":"urn:x",'
        b'"stream":"' + b"0" * 32 + b'","time":"2026-03-10T08:00:00.000Z","type":"a.b.c.v1","version":7}'
    )


def _with(**changes: object) -> bytes:
    values = json.loads(EXAMPLE.encode()) | changes
    return json.dumps({k: v for k, v in sorted(values.items()) if v is not ...}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "data",
    [
        _with(extra="x"),
        _with(id=...),
        _with(version="7"),
        _with(version=True),
        _with(version=None),
        _with(id=7),
        _with(version=7.0),
        b"[]",
        b"null",
        b"",
        EXAMPLE.encode() + b"\n",
        EXAMPLE.encode().replace(b":", b": ", 1),
        EXAMPLE.encode()[:-1],
    ],
)
def test_decode_is_strict(data):
    assert Entry.decode(_with()) == EXAMPLE
    with pytest.raises(InputError):
        Entry.decode(data)


@given(st.data())
def test_no_flipped_bit_reads_as_the_same_entry(data):
    encoded = bytearray(EXAMPLE.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(InputError):
        assert Entry.decode(bytes(encoded)) != EXAMPLE


def test_the_commitment_is_the_documented_hash():
    salt, payload = bytes(range(32)), b'{"data":{}}'
    assert commit(salt, payload) == hashlib.sha256(b"tocsin/payload/v1" + salt + payload).hexdigest()


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=1, max_size=50), st.integers(1, 50))
def test_a_commitment_binds_salt_and_payload(salt, payload, shift):
    commitment = commit(salt, payload)
    assert commits_to(commitment, salt, payload)
    assert not commits_to(commitment, salt, payload + b"x")
    assert not commits_to(commitment, bytes([salt[0] ^ 1]) + salt[1:], payload)
    # The border between salt and payload cannot be moved.
    assert not commits_to(commitment, (salt + payload)[: 32 + shift], (salt + payload)[32 + shift :])
    assert not commits_to(commitment, salt[:31], salt[31:] + payload)
