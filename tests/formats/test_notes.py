"""Signed notes against published vectors, and strictness under mutation."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError
from ledger.notes import (
    COSIGNATURE,
    ED25519,
    CosignatureSigner,
    Signature,
    Signer,
    Verifier,
    add_signatures,
    open_note,
    sign_note,
    split_note,
)

FOO_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_TEXT = "This is an example message.\n"
FOO_LINE = (
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
SUMDB_VKEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SOFA_TEXT = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

SIGSUM = "sigsum.org/v1/tree/e796172b92befd62d9dc67e41c2f5bc9d3100a3023b20b1ca40288dd1c679e69"
SIGSUM_TEXT = f"{SIGSUM}\n10\nHA5HAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
SIGSUM_SIGNATURE = "gJ2ho0n8F8olcerUF1FFdv235A/5as/coWrpLrtE7ovMeP5whgwouYExowG/lTznxu6OUGjjt5yJQ6bXtTcf718MqAQ="

LOG = Signer.from_seed("example.com/log", bytes(range(32)))
OTHER = Signer.from_seed("example.com/other", bytes([7]) * 32)
WITNESS = CosignatureSigner.from_seed("witness.example/w1", bytes([9]) * 32)
CHECKPOINT = Checkpoint("example.com/log", 42, bytes(32)).format()

NAMES = st.text(
    st.characters(min_codepoint=33, exclude_categories=["Cs", "Z"], exclude_characters="+\x85"),
    min_size=1,
    max_size=20,
)
TEXTS = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]) | st.just("\n"), max_size=60).map(
    "{}\n".format
)
SEEDS = st.binary(min_size=32, max_size=32)


def note(text, *lines):
    return (text + "\n" + "".join(lines)).encode()


def peter():
    return Verifier.from_vkey(VKEY)


# --- published vectors


def test_n1_c2sp_example():
    opened = open_note(note(FOO_TEXT, FOO_LINE), [Verifier.from_vkey(FOO_VKEY)])
    assert opened.text == FOO_TEXT
    assert [signature.name for signature in opened.signatures] == ["example.com/foo"]
    assert opened.unknown == ()


def test_n2_go_signer_key():
    signer = Signer.from_private_key(SKEY)
    assert signer.vkey == VKEY
    assert signer.private_key == SKEY
    assert sign_note(TEXT, [signer]) == note(TEXT, PETER_LINE)
    assert open_note(note(TEXT, PETER_LINE), [Verifier.from_vkey(VKEY)]).text == TEXT


def test_n3_second_signer():
    enoch = Signer.from_seed("EnochRoot", bytes(32))
    assert enoch.verifier.key_id.hex() == "af0cfe78"
    signed = sign_note(TEXT, [Signer.from_private_key(SKEY), enoch])
    assert signed == note(TEXT, PETER_LINE, ENOCH_LINE)
    both = open_note(signed, [enoch.verifier, peter()])
    assert [signature.name for signature in both.signatures] == ["PeterNeumann", "EnochRoot"]
    one = open_note(signed, [enoch.verifier])
    assert [signature.name for signature in one.signatures] == ["EnochRoot"]
    assert [signature.name for signature in one.unknown] == ["PeterNeumann"]


@pytest.mark.parametrize(
    "vkey",
    [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_n4_bad_verifier_keys(vkey):
    with pytest.raises(NoteError):
        Verifier.from_vkey(vkey)


@pytest.mark.parametrize(("parse", "key"), [(Verifier.from_vkey, VKEY), (Signer.from_private_key, SKEY)])
def test_n4_every_substring_and_every_changed_byte_is_refused(parse, key):
    altered = {key[start:end] for start in range(len(key)) for end in range(start, len(key) + 1)} - {key}
    altered |= {key[:at] + chr(ord(key[at]) + 1) + key[at + 1 :] for at in range(len(key))}
    for text in altered:
        with pytest.raises(NoteError):
            parse(text)


def test_n5_go_sumdb_key():
    verifier = Verifier.from_vkey(SUMDB_VKEY)
    assert (verifier.name, verifier.kind, verifier.key_id.hex()) == ("sum.golang.org", ED25519, "033de0ae")
    assert verifier.vkey == SUMDB_VKEY


def test_c1_sigsum_checkpoint():
    signer = Signer.from_seed(SIGSUM, b"\x11" + bytes(31))
    assert signer.public.hex() == "66e0b858e462a609e66fe71370c816d8846ff103d5499a22a7fec37fdbc424a7"
    assert signer.verifier.key_id.hex() == "809da1a3"
    signed = note(SIGSUM_TEXT, f"— {SIGSUM} {SIGSUM_SIGNATURE}\n")
    assert sign_note(SIGSUM_TEXT, [signer]) == signed
    assert Checkpoint.parse(open_note(signed, [signer.verifier]).text).size == 10


def test_c1_wrong_key_id_is_an_unknown_key():
    """The same bytes under another key id are by an unknown key, not by a known one that fails."""
    signer = Signer.from_seed(SIGSUM, b"\x11" + bytes(31))
    blob = bytes.fromhex("a4e6549f") + base64.b64decode(SIGSUM_SIGNATURE)[4:]
    line = f"— {SIGSUM} {base64.b64encode(blob).decode()}\n"
    assert line.split()[2].startswith("pOZUn0n8")
    with pytest.raises(NoteError, match="No known key"):
        open_note(note(SIGSUM_TEXT, line), [signer.verifier])
    beside = note(SIGSUM_TEXT, line, f"— {SIGSUM} {SIGSUM_SIGNATURE}\n")
    assert len(open_note(beside, [signer.verifier]).unknown) == 1


# --- cosignatures


def test_a_cosignature_carries_its_time():
    signed = sign_note(CHECKPOINT, [LOG])
    line = WITNESS.cosign(signed, 1_679_315_147)
    assert line.startswith("— witness.example/w1 ".encode())
    assert len(base64.b64decode(line.split()[2])) == 76
    opened = open_note(signed + line, [LOG.verifier, Verifier.from_vkey(WITNESS.vkey)])
    assert [(one.name, one.timestamp) for one in opened.signatures] == [
        ("example.com/log", None),
        ("witness.example/w1", 1_679_315_147),
    ]
    assert [one.key for one in opened.signatures] == [LOG.public, WITNESS.public]


def test_the_signed_message_is_the_specifications():
    """cosignature/v1, time, then the whole text: checked with the bare Ed25519 key."""
    signed = sign_note(CHECKPOINT, [LOG])
    blob = base64.b64decode(WITNESS.cosign(signed, 5).split()[2])
    assert blob[:4] == WITNESS.verifier.key_id
    assert blob[4:12] == (5).to_bytes(8, "big")
    bare = Verifier("x", ED25519, WITNESS.public)
    assert bare.verify(f"cosignature/v1\ntime 5\n{CHECKPOINT}", blob[12:]) is None


def test_extension_lines_are_cosigned():
    text = CHECKPOINT + "extension\n"
    blob = base64.b64decode(WITNESS.cosign(sign_note(text, [LOG]), 5).split()[2])[4:]
    assert WITNESS.verifier.verify(text, blob) == 5
    for other in (CHECKPOINT, CHECKPOINT + "Extension\n"):
        with pytest.raises(NoteError, match="does not verify"):
            WITNESS.verifier.verify(other, blob)


def test_the_time_is_signed():
    signed = sign_note(CHECKPOINT, [LOG])
    blob = base64.b64decode(WITNESS.cosign(signed, 5).split()[2])[4:]
    for other in (0, 6, 2**63 - 1, 2**63, 2**64 - 1):
        with pytest.raises(NoteError):
            WITNESS.verifier.verify(CHECKPOINT, other.to_bytes(8, "big") + blob[8:])


@pytest.mark.parametrize("timestamp", [0, -1, 2**63])
def test_impossible_times_are_not_signed(timestamp):
    with pytest.raises(NoteError):
        WITNESS.cosign(sign_note(CHECKPOINT, [LOG]), timestamp)


def test_only_checkpoints_are_cosigned():
    with pytest.raises(NoteError):
        WITNESS.cosign(sign_note("no checkpoint\n", [LOG]), 5)
    with pytest.raises(NoteError):
        WITNESS.cosign(CHECKPOINT.encode(), 5)


def test_one_key_in_two_kinds_has_two_ids():
    plain, cosigner = Signer.from_seed("a", bytes(32)), CosignatureSigner.from_seed("a", bytes(32))
    assert plain.public == cosigner.public
    assert plain.verifier.key_id != cosigner.verifier.key_id
    assert (plain.verifier.kind, cosigner.verifier.kind) == (ED25519, COSIGNATURE)
    signed = sign_note(CHECKPOINT, [plain])
    with pytest.raises(NoteError, match="No known key"):
        open_note(signed, [cosigner.verifier])
    opened = open_note(signed + cosigner.cosign(signed, 3), [plain.verifier, cosigner.verifier])
    assert len(opened.signatures) == 2


def test_private_keys_keep_their_kind():
    assert CosignatureSigner.from_private_key(WITNESS.private_key) == WITNESS
    with pytest.raises(NoteError, match="type 0x04"):
        Signer.from_private_key(WITNESS.private_key)
    with pytest.raises(NoteError, match="type 0x01"):
        CosignatureSigner.from_private_key(LOG.private_key)


def test_secrets_stay_out_of_repr():
    seed = bytes(range(32))
    for signer in (LOG, WITNESS, Signer.from_private_key(SKEY)):
        shown = repr(signer)
        assert repr(seed)[2:-1] not in shown
        assert "seed" not in shown
        assert "secret" not in shown


# --- opening


def test_a_bad_signature_by_a_known_key_rejects_the_note():
    signed = sign_note(TEXT, [LOG, OTHER])
    with pytest.raises(NoteError, match="does not verify"):
        open_note(signed.replace(b"answer", b"Answer"), [LOG.verifier])
    # OTHER's line now carries LOG's signature bytes: one good known key does not save the note.
    swapped = Signature(OTHER.name, OTHER.verifier.key_id, LOG.signature(TEXT).blob).line
    broken = sign_note(TEXT, [LOG]) + swapped
    with pytest.raises(NoteError, match="does not verify"):
        open_note(broken, [LOG.verifier, OTHER.verifier])
    assert open_note(broken, [LOG.verifier]).text == TEXT


@pytest.mark.parametrize("length", [1, 63, 65, 72, 128])
def test_a_known_signature_of_the_wrong_length_rejects_the_note(length):
    blob = (LOG.signature(TEXT).blob * 2)[:length]
    signed = note(TEXT, Signature(LOG.name, LOG.verifier.key_id, blob).line.decode())
    with pytest.raises(NoteError):
        open_note(signed, [LOG.verifier])


def test_name_and_id_must_both_match():
    signed = sign_note(TEXT, [LOG])
    renamed = signed.replace(b" example.com/log ", b" example.com/lag ")
    with pytest.raises(NoteError, match="No known key"):
        open_note(renamed, [LOG.verifier])
    for verifiers in ([], [OTHER.verifier]):
        with pytest.raises(NoteError, match="No known key"):
            open_note(signed, verifiers)


def test_repeated_signature_lines_are_refused():
    line = LOG.signature(TEXT).line.decode()
    with pytest.raises(NoteError, match="same key name"):
        open_note(note(TEXT, line, line), [LOG.verifier])
    forged = Signature(LOG.name, LOG.verifier.key_id, bytes(64)).line.decode()
    with pytest.raises(NoteError, match="same key name"):
        open_note(note(TEXT, line, forged), [LOG.verifier])
    stranger = Signature("x", b"abcd", bytes(64)).line.decode()
    with pytest.raises(NoteError, match="same key name"):
        open_note(note(TEXT, line, stranger, stranger), [LOG.verifier])


def test_up_to_a_hundred_signatures_are_read():
    for count in (16, 99):
        lines = [Signature(f"k{number}", b"abcd", b"x").line.decode() for number in range(count)]
        signed = note(TEXT, *lines, LOG.signature(TEXT).line.decode())
        assert len(open_note(signed, [LOG.verifier]).unknown) == count
    lines = [Signature(f"k{number}", b"abcd", b"x").line.decode() for number in range(100)]
    with pytest.raises(NoteError, match="at most 100"):
        open_note(note(TEXT, *lines, LOG.signature(TEXT).line.decode()), [LOG.verifier])


def test_a_note_has_a_largest_size():
    with pytest.raises(NoteError, match="longer than"):
        open_note(sign_note("x" * 1_000_000 + "\n", [LOG]), [LOG.verifier])


def test_ambiguous_verifiers_are_refused():
    """Two different trusted keys with one name and id (found by search) must not be mixed up."""

    class Twin(Verifier):
        @property
        def key_id(self):
            return LOG.verifier.key_id

    with pytest.raises(NoteError, match="share a name"):
        open_note(sign_note(TEXT, [LOG]), [LOG.verifier, Twin(LOG.name, ED25519, OTHER.public)])
    assert open_note(sign_note(TEXT, [LOG]), [LOG.verifier, LOG.verifier]).text == TEXT


def test_text_may_hold_empty_lines():
    for text in ("\n", "\n\n", "a\n\nb\n", "a\n\n", "\n\n\n— x y\n\n"):
        assert open_note(sign_note(text, [LOG]), [LOG.verifier]).text == text


GOOD = LOG.signature(TEXT).line.decode()
NAME, ENCODED = GOOD[2:-1].split(" ")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"\n\n",
        TEXT.encode(),
        note(TEXT),
        note(TEXT, GOOD)[:-1],
        note(TEXT, GOOD, "\n"),
        note(TEXT, GOOD, "\n", GOOD),
        note(TEXT[:-1], GOOD),
        note(TEXT, "x", GOOD),
        note(TEXT, GOOD, "x\n"),
        note(TEXT, GOOD[2:]),
        note(TEXT, "- " + GOOD[2:]),
        note(TEXT, "\u2013 " + GOOD[2:]),
        note(TEXT, "\u2014" + GOOD[2:]),
        note(TEXT, " " + GOOD),
        note(TEXT, GOOD[:-1] + " \n"),
        note(TEXT, GOOD[:-1] + "\r\n"),
        note(TEXT, f"— {NAME}  {ENCODED}\n"),
        note(TEXT, f"— {ENCODED}\n"),
        note(TEXT, f"—  {ENCODED}\n"),
        note(TEXT, f"— a+b {ENCODED}\n"),
        note(TEXT, f"— a\u00a0b {ENCODED}\n"),
        note(TEXT, f"— a\u2003b {ENCODED}\n"),
        note(TEXT, f"— {'n' * 256} {ENCODED}\n"),
        note(TEXT, f"— {NAME} {ENCODED}=\n"),
        note(TEXT, f"— {NAME} {ENCODED.rstrip('=')}\n"),
        note(TEXT, f"— {NAME} {ENCODED[:8]}!{ENCODED[8:]}\n"),
        note(TEXT, f"— {NAME} {ENCODED[:8]}\n"),
        note(TEXT, f"— {NAME} \n"),
        note(TEXT, f"— {NAME} YWJjZA==\n"),  # a key id and no signature
        note(TEXT, GOOD, "— other YWJjZGV=\n"),  # non-zero trailing bits, in an unknown line
        note(TEXT, GOOD).replace(b"answer", b"an\tswer"),
        note(TEXT, GOOD).replace(b"answer", b"an\x00swer"),
        note(TEXT, GOOD).replace(b"answer", b"an\xffswer"),
        note(TEXT, GOOD).replace(b"answer", b"an\xed\xa0\x80swer"),
    ],
)
def test_malformed_notes_are_refused(raw):
    assert open_note(note(TEXT, GOOD), [LOG.verifier]).text == TEXT
    with pytest.raises(NoteError):
        open_note(raw, [LOG.verifier])


def test_non_canonical_base64_of_a_good_signature_is_refused():
    """68 bytes leave trailing bits in the last character: several spellings, one signature."""
    assert ENCODED.endswith("=")
    last = ENCODED[-2]
    for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/":
        signed = note(TEXT, f"— {NAME} {ENCODED[:-2]}{char}=\n")
        if char == last:
            assert open_note(signed, [LOG.verifier]).text == TEXT
        else:
            with pytest.raises(NoteError):
                open_note(signed, [LOG.verifier])


# --- signing


@pytest.mark.parametrize("text", ["", "no newline", "tab\t\n", "cr\r\n", "nul\0\n", "\ud800\n"])
def test_texts_that_cannot_stand_in_a_note_are_not_signed(text):
    with pytest.raises(NoteError):
        sign_note(text, [LOG])


def test_a_note_needs_each_signer_once():
    with pytest.raises(NoteError):
        sign_note(TEXT, [])
    with pytest.raises(NoteError):
        sign_note(TEXT, [LOG, LOG])


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\u2028b", "a\u3000", "a\nb", "a\0b", "\ud800", "n" * 256, "\u00e9" * 128]
)
def test_key_names_are_strict(name):
    for make in (Signer.from_seed, CosignatureSigner.from_seed):
        with pytest.raises(NoteError):
            make(name, bytes(32))
    with pytest.raises(NoteError):
        Verifier(name, ED25519, bytes(32))


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytes(64)])
def test_seeds_are_32_bytes(seed):
    for make in (Signer.from_seed, CosignatureSigner.from_seed):
        with pytest.raises(NoteError):
            make("a", seed)


@pytest.mark.parametrize("kind", [0, 2, 3, 5, 6, 255])
def test_other_kinds_of_key_are_not_supported(kind):
    with pytest.raises(NoteError, match="not supported"):
        Verifier("a", kind, bytes(32))


def test_uppercase_key_ids_are_another_spelling():
    with pytest.raises(NoteError):
        Verifier.from_vkey(FOO_VKEY.replace("530d903a", "530D903A"))


def test_signatures_are_added_at_the_end():
    signed = sign_note(CHECKPOINT, [LOG])
    line = WITNESS.cosign(signed, 9)
    assert add_signatures(signed, [line]) == signed + line
    assert add_signatures(signed, []) == signed
    for bad in ([line, line], [line[:-1]], [b"\n"], [b"\n" + line], [b"x\n"], [b"\n\nx"]):
        with pytest.raises(NoteError):
            add_signatures(signed, bad)


# --- properties


@given(TEXTS, st.lists(st.tuples(NAMES, SEEDS), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
def test_signed_notes_open(text, keys):
    signers = [Signer.from_seed(*key) for key in keys]
    signed = sign_note(text, signers)
    opened = open_note(signed, [Verifier.from_vkey(signer.vkey) for signer in signers])
    assert opened.text == text
    assert [signature.name for signature in opened.signatures] == [name for name, _ in keys]
    assert note(opened.text, *(signature.line.decode() for signature in opened.signatures)) == signed


@given(NAMES, SEEDS)
def test_keys_read_back(name, seed):
    for kind in (Signer, CosignatureSigner):
        signer = kind.from_seed(name, seed)
        assert kind.from_private_key(signer.private_key) == signer
        assert Verifier.from_vkey(signer.vkey) == signer.verifier


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_cleanly(raw):
    for data in (raw, note(TEXT) + raw, raw + note(TEXT, GOOD)):
        try:
            text, signatures = split_note(data)
        except NoteError:
            continue
        assert note(text, *(signature.line.decode() for signature in signatures)) == data


@given(st.text(max_size=80))
def test_random_keys_are_refused_cleanly(text):
    for parse in (Verifier.from_vkey, Signer.from_private_key, CosignatureSigner.from_private_key):
        for candidate in (text, f"PRIVATE+KEY+{text}", f"name+01234567+{text}"):
            with pytest.raises(NoteError):
                parse(candidate)


@pytest.mark.parametrize("change", ["flip", "delete", "double"])
def test_every_changed_byte_is_noticed(change):
    """Both keys are asked for, so nothing in the note is without meaning."""
    plain = sign_note(CHECKPOINT, [LOG])
    signed = plain + WITNESS.cosign(plain, 77)
    verifiers = [LOG.verifier, WITNESS.verifier]
    for at in range(len(signed)):
        middle = {"flip": bytes([signed[at] ^ 1]), "delete": b"", "double": signed[at : at + 1] * 2}[change]
        altered = signed[:at] + middle + signed[at + 1 :]
        try:
            opened = open_note(altered, verifiers)
        except NoteError:
            continue
        # A changed key name makes the line one of an unknown key, which is ignored, never believed.
        assert len(opened.signatures) == 1
        assert opened.text == CHECKPOINT
