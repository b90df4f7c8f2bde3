"""Pinning: by key, by policy, by a quorum of witnesses; and what is no policy."""

from __future__ import annotations

import pytest

from ledger.errors import VerificationError
from ledger.notes import CosignatureSigner, Signer
from ledger.policy import parse_policy
from ledger.verify_bundle import Policy, Refused, verify_bytes

ONE, TWO, THREE = (CosignatureSigner.from_seed(f"w{n}.example", bytes([n]) * 32) for n in (1, 2, 3))


@pytest.fixture(scope="module")
def cosigned(kit, story):
    """The story's bundle, its checkpoint cosigned by two witnesses."""
    material = story.log.material(witnesses=(ONE, TWO))
    return kit.make(story, b"pass\n", checkpoint=material.checkpoint)


def policy(log: str, quorum: str) -> bytes:
    witnesses = "".join(f"witness w{n} {key.vkey}\n" for n, key in ((1, ONE), (2, TWO), (3, THREE)))
    return f"# pinned\nlog {log} https://example.org\n{witnesses}{quorum}".encode()


@pytest.mark.parametrize(
    ("quorum", "code"),
    [
        ("quorum none\n", 0),
        ("quorum w1\n", 0),
        ("quorum w3\n", 3),
        ("group both all w1 w2\nquorum both\n", 0),
        ("group g 2 w1 w2 w3\nquorum g\n", 0),
        ("group g 3 w1 w2 w3\nquorum g\n", 3),
        ("group g any w2 w3\nquorum g\n", 0),
        ("group g all w2 w3\nquorum g\n", 3),
        ("group g all w2 w3\ngroup h any w1 g\nquorum h\n", 0),
        ("group g all w2 w3\ngroup h all w1 g\nquorum h\n", 3),
    ],
)
def test_quorums(cosigned, story, quorum, code):
    result = verify_bytes(cosigned, policy=policy(story.log.signer.vkey, quorum))
    assert result["exit_code"] == code, result["message"]


def test_a_bundle_without_cosignatures_does_not_meet_a_quorum(small, story):
    result = verify_bytes(small, policy=policy(story.log.signer.vkey, "quorum w1\n"))
    assert (result["exit_code"], result["kind"]) == (3, "quorum")


def test_a_policy_for_another_log_is_not_met(small):
    other = Signer.from_seed("example.org/audit", b"\x44" * 32)
    result = verify_bytes(small, policy=policy(other.vkey, "quorum none\n"))
    assert (result["exit_code"], result["kind"]) == (3, "key")


def test_a_bad_cosignature_by_a_known_witness_is_damage(kit, story):
    """The note rules: a known key whose signature fails damns the note, it does not merely not count."""
    material = story.log.material(witnesses=(ONE,))
    line = material.checkpoint.splitlines()[-1]
    other = story.log.material(witnesses=(ONE,)).checkpoint.replace(line, line[:-8] + b"AAAAAA==")
    result = verify_bytes(
        kit.make(story, b"pass\n", checkpoint=other), policy=policy(story.log.signer.vkey, "quorum w1\n")
    )
    assert result["exit_code"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum x\n",
        "quorum none\nquorum none\n",
        "log\nquorum none\n",
        "log nonsense\nquorum none\n",
        "group g 1 w1\nquorum g\n",
        "witness none {one}\nquorum none\n",
        "witness a {one}\nwitness a {two}\nquorum a\n",
        "witness a {one}\nwitness b {one}\nquorum a\n",
        "witness a {one}\ngroup g 2 a\nquorum g\n",
        "witness a {one}\ngroup g 0 a\nquorum g\n",
        "witness a {one}\ngroup g 01 a\nquorum g\n",
        "witness a {one}\ngroup g any a\ngroup h any a\nquorum g\n",
        "witness a {log}\nquorum a\n",
        "log {one}\nquorum none\n",
        "mirror {log}\nquorum none\n",
        "log {log}\r\nquorum none\n",
    ],
)
def test_what_is_no_policy_is_refused_by_both_readers(story, text):
    data = text.format(one=ONE.vkey, two=TWO.vkey, log=story.log.signer.vkey).encode()
    with pytest.raises(Refused) as refused:
        Policy(data, "policy")
    assert refused.value.verdict == "unreadable"
    with pytest.raises(VerificationError):
        parse_policy(data)


def test_the_key_of_a_witness_cannot_be_pinned_as_the_ledgers(small):
    assert verify_bytes(small, vkey=ONE.vkey)["exit_code"] == 4


def test_a_malformed_key_is_unreadable_not_damaged(small, story):
    vkey = story.log.signer.vkey
    for broken in ("", "a", "a+b+c", vkey[:-1], vkey.replace("1b", "1c"), vkey + "AAAA", ONE.vkey[:-4] + "AAAA"):
        assert verify_bytes(small, vkey=broken)["exit_code"] == 4, broken
