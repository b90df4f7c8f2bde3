"""The verifier reads tree, notes and JSON on its own, and agrees with the ledger's own readers."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle, verify_bundle
from ledger.encoding import canonical
from ledger.errors import NoteError
from ledger.notes import Signer, Verifier, open_note, sign_note
from ledger.verify_bundle import Key, Note, Refused

leaves = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


@given(leaves)
def test_roots_agree(hashes):
    assert verify_bundle.root_hash(hashes) == merkle.root_hash(hashes)


def test_the_empty_tree_has_the_hash_of_nothing():
    assert verify_bundle.root_hash([]) == merkle.root_hash([])


@given(leaves, st.data())
def test_paths_lead_to_the_root_and_no_other_path_does(hashes, data):
    index = data.draw(st.integers(0, len(hashes) - 1))
    path, root = merkle.inclusion_proof(hashes, index), merkle.root_hash(hashes)
    size, leaf = len(hashes), hashes[index]
    assert verify_bundle.root_from_path(index, size, leaf, path) == root
    assert verify_bundle.root_from_path(index, size, leaf, [*path, leaf]) != root
    assert verify_bundle.root_from_path(size, size, leaf, path) is None
    if path:
        assert verify_bundle.root_from_path(index, size, leaf, path[:-1]) != root
        assert verify_bundle.root_from_path(index, size, leaf, [*path[::-1], leaf]) != root


def test_the_published_inclusion_cases_hold(shared):
    """transparency-dev/merkle testdata: 98 cases, most of them mutations that must fail."""
    cases = sorted((shared / "vectors" / "merkle" / "inclusion").rglob("*.json"))
    assert len(cases) >= 98
    for file in cases:
        case = json.loads(file.read_text())
        root, leaf = (base64.b64decode(case[name] or "") for name in ("root", "leafHash"))
        path = [base64.b64decode(node) for node in case["proof"] or []]
        whole = len(leaf) == 32 and all(len(node) == 32 for node in path)
        reached = verify_bundle.root_from_path(case["leafIdx"], case["treeSize"], leaf, path) if whole else None
        assert (reached != root) == case["wantErr"], file.name


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=30)


@given(st.lists(texts, min_size=1, max_size=4), st.binary(min_size=32, max_size=32))
def test_notes_signed_by_the_ledger_are_accepted(rows, seed):
    signer = Signer.from_seed("example.org/log", seed)
    text = "\n".join(rows) + "\n"
    note = Note(sign_note(text, [signer]), "note")
    assert note.text == text
    assert note.signed_by(Key(signer.vkey, "key"))


@given(st.data())
def test_mutated_notes_are_judged_as_the_ledger_judges_them(data):
    signer = Signer.from_seed("example.org/log", b"\x01" * 32)
    raw = bytearray(sign_note("one\ntwo\n", [signer]))
    for _ in range(data.draw(st.integers(1, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        ours = open_note(bytes(raw), [Verifier.from_vkey(signer.vkey)]).text
    except NoteError:
        ours = None
    try:
        note = Note(bytes(raw), "note")
        theirs = note.text if note.signed_by(Key(signer.vkey, "key")) else None
    except Refused:
        theirs = None
    assert ours == theirs


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_keys_that_the_note_package_of_go_refuses_are_refused(vkey):
    with pytest.raises(Refused):
        Key(vkey, "key")


def test_the_note_of_the_specification_verifies():
    """C2SP signed-note.md, the example note."""
    vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    signature = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    note = Note(f"This is an example message.\n\n\u2014 example.com/foo {signature}\n".encode(), "note")
    assert note.signed_by(Key(vkey, "key"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
def test_canonical_json_is_the_ledgers(value):
    data = canonical(value)
    assert verify_bundle.canonical_json(value) == data
    assert verify_bundle.decode_json(data, "value") == value


@pytest.mark.parametrize("text", ["+1", " 1", "1_0", "٣", "007", "-1", "", "1.0", "0x1", "1\n", "9" * 20])
def test_numbers_have_one_spelling(text):
    with pytest.raises(Refused):
        verify_bundle.decode_number(text, "number")


@pytest.mark.parametrize("text", ["QR==", "QUJD!!!!RA==", "QQ", "QQ==\n", " QQ==", "Q===", "_-==", None, 7, "é"])
def test_base64_has_one_spelling(text):
    with pytest.raises(Refused):
        verify_bundle.decode_base64(text, "value")
