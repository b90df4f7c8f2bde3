"""The client against witnesses of every manner: right, different, lying, slow, gone."""

import asyncio
import threading

import pytest

from ledger.errors import PolicyError
from ledger.notes import CosignatureSigner, Signer, open_note
from ledger.policy import parse_policy
from ledger.witness.client import DisputedError, Endpoint, WitnessClient, endpoints, look, open_session
from ledger.witness.errors import StaleError, WitnessError

COSIGNER = CosignatureSigner.from_seed("odd.example/w", b"\x44" * 32)


def run(url, work, verifier=COSIGNER.verifier, timeout_s=5.0):
    async def main():
        async with open_session() as session:
            return await work(WitnessClient(Endpoint("w", verifier, url), session, timeout_s=timeout_s))

    return asyncio.run(main())


def prove(log, new, branch=0):
    async def proof(old):
        return log.proof(old, new, branch)

    return proof


def test_against_our_own_witness(witness, log, tools):
    from ledger.notes import Verifier

    verifier = Verifier.from_vkey(witness.vkey)
    with tools.running(witness, "/some/prefix") as url:
        [one] = run(url, lambda w: w.submit(log.note(5), 0, []), verifier)
        assert open_note(log.note(5) + one.line, [verifier, log.signer.verifier])
        # A wrong hint is corrected by the 409, in both directions.
        for hint in (0, 7, 999):
            [again] = run(url, lambda w, hint=hint: w.witness(log.note(9), hint, prove(log, 9)), verifier)
            assert again.timestamp
        with pytest.raises(StaleError) as stale:
            run(url, lambda w: w.witness(log.note(5), 5, prove(log, 5)), verifier)
        assert stale.value.size == 9
        with pytest.raises(DisputedError) as disputed:
            run(url, lambda w: w.submit(log.note(9, branch=1), 9, []), verifier)
        assert (disputed.value.status, disputed.value.size) == (422, None)
        # Somebody else at this address.
        with pytest.raises(WitnessError, match="does not verify"):
            run(url, lambda w: w.submit(log.note(9), 9, []))
        seen = run(url, lambda w: w.latest(log.signer.verifier, log.origin), verifier)
        assert seen.checkpoint.size == 9
        assert seen.note.startswith(log.note(9))


# litewitness (2025) answers 403 where the specification now says 404.
@pytest.mark.parametrize("status", [400, 403, 404, 413, 418, 429, 500, 503])
def test_refusals_of_all_kinds_are_told_apart_from_disputes(log, status, tools):
    with tools.odd(lambda *_: (status, {}, b"no")) as url, pytest.raises(WitnessError, match=str(status)) as caught:
        run(url, lambda w: w.submit(log.note(5), 0, []))
    assert type(caught.value) is WitnessError


# transparency-dev/witness answers 409 without a body, or with the size we sent, for another root.
@pytest.mark.parametrize("body", [b"", b"5\n", b"root mismatch", b"05\n", b"9223372036854775808\n", b"\xff"])
def test_a_conflict_that_names_no_other_size_is_a_dispute(log, body, tools):
    with tools.odd(lambda *_: (409, {"content-type": "text/x.tlog.size"}, body)) as url, pytest.raises(DisputedError):
        run(url, lambda w: w.submit(log.note(5), 5, []))


@pytest.mark.parametrize(
    "headers", [{}, {"content-type": "text/plain"}, {"content-type": "text/x.tlog.size; charset=utf-8"}]
)
@pytest.mark.parametrize("body", [b"3\n", b"3"])
def test_a_conflict_with_a_size_is_understood_whatever_its_media_type(log, headers, body, tools):
    with tools.odd(lambda *_: (409, headers, body)) as url, pytest.raises(StaleError) as caught:
        run(url, lambda w: w.submit(log.note(5), 0, []))
    assert caught.value.size == 3


def test_a_witness_that_never_settles_is_left_alone(log, tools):
    sizes = iter([3, 4, 3, 4, 3, 4])
    asked = []

    def answer(_method, _path, body):
        asked.append(body)
        return 409, {}, b"%d\n" % next(sizes)

    with tools.odd(answer) as url, pytest.raises(WitnessError, match="3 submissions"):
        run(url, lambda w: w.witness(log.note(5), 0, prove(log, 5)))
    assert len(asked) == 3


def good(log):
    return COSIGNER.cosign(log.note(5), 1_773_000_000)


def zero(log):
    """A valid cosignature dated 0, which a witness must not send."""
    text = log.note(5).partition(b"\n\n")[0] + b"\n"
    signature = COSIGNER.sign(b"cosignature/v1\ntime 0\n" + text)
    from ledger.notes import Signature

    return Signature(COSIGNER.name, COSIGNER.verifier.key_id, bytes(8) + signature).line


@pytest.mark.parametrize(
    ("answer", "accepted"),
    [
        (good, True),
        # SPEC: the client "MUST ignore any cosignatures from unknown keys."
        (lambda log: CosignatureSigner.from_seed("x.example/y", b"\x55" * 32).cosign(log.note(5), 1) + good(log), True),
        (lambda log: CosignatureSigner.from_seed("x.example/y", b"\x55" * 32).cosign(log.note(5), 1), False),
        (lambda log: COSIGNER.cosign(log.note(6), 1), False),
        (lambda log: COSIGNER.cosign(log.note(5, branch=1), 1), False),
        (lambda log: good(log) + good(log), False),
        (lambda log: good(log) + b"trailing\n", False),
        (lambda log: good(log)[:-1], False),
        (lambda log: b"\n" + good(log), False),
        (lambda log: Signer.from_seed(COSIGNER.name, b"\x44" * 32).signature("x\n").line + b"\n" + good(log), False),
        (zero, False),
        (lambda _: b"", False),
        (lambda _: b"x" * 300_000, False),
    ],
)
def test_only_a_verified_cosignature_of_our_checkpoint_counts(log, answer, accepted, tools):
    with tools.odd(lambda *_: (200, {}, answer(log))) as url:
        if accepted:
            [one] = run(url, lambda w: w.submit(log.note(5), 0, []))
            assert (one.name, one.key, one.timestamp) == (COSIGNER.name, COSIGNER.public, 1_773_000_000)
        else:
            with pytest.raises(WitnessError):
                run(url, lambda w: w.submit(log.note(5), 0, []))


def test_a_slow_a_silent_and_a_wandering_witness(log, tools):
    released = threading.Event()

    def slow(*_):
        released.wait(10)
        return 200, {}, b""

    with tools.odd(slow) as url:
        with pytest.raises(WitnessError, match="in time"):
            run(url, lambda w: w.submit(log.note(5), 0, []), timeout_s=0.2)
        released.set()
    with pytest.raises(WitnessError, match="cannot be reached"):
        run(url, lambda w: w.submit(log.note(5), 0, []))
    # It is not followed elsewhere: the policy says where the witness is.
    with (
        tools.odd(lambda *_: (307, {"location": "http://127.0.0.1:1/"}, b"")) as url,
        pytest.raises(WitnessError, match="307"),
    ):
        run(url, lambda w: w.submit(log.note(5), 0, []))


def test_what_a_witness_shows_is_verified(log, tools):
    """The monitoring path is not authenticated by itself: both signatures must be there."""
    note = log.note(5)
    for shown in (
        note,
        note + COSIGNER.cosign(log.note(6), 1),
        log.note(5, branch=1)[:40],
        b"",
        tools.Log("log.example/other").note(5),
    ):
        with tools.odd(lambda *_, shown=shown: (200, {}, shown)) as url, pytest.raises(WitnessError):
            run(url, lambda w: w.latest(log.signer.verifier, log.origin))
    with tools.odd(lambda *_: (200, {}, note + COSIGNER.cosign(note, 7))) as url:
        assert run(url, lambda w: w.latest(log.signer.verifier, log.origin)).time == 7
        with pytest.raises(WitnessError, match="not a checkpoint of this log"):
            run(url, lambda w: w.latest(log.signer.verifier, "log.example/other"))


def test_looking_at_several_at_once_tells_each_one_apart(witness, log, tools):
    from ledger.notes import Verifier

    witness.add_checkpoint(log.body(0, 5))
    verifier = Verifier.from_vkey(witness.vkey)
    with tools.running(witness) as url, tools.odd(lambda *_: (404, {}, b"")) as none:
        places = [
            Endpoint("a", verifier, url),
            Endpoint("b", verifier, none),
            Endpoint("c", verifier, "http://127.0.0.1:1"),
        ]
        seen = asyncio.run(look(places, log.signer.verifier, log.origin))
    assert seen["a"].checkpoint.size == 5
    assert seen["b"] is None
    assert isinstance(seen["c"], WitnessError)


def test_urls_of_a_policy():
    def policy(url):
        return parse_policy(f"witness w {COSIGNER.vkey} {url}\nquorum w\n".encode())

    [place] = endpoints(policy("https://w.example/prefix/"))
    assert (place.name, place.url) == ("w", "https://w.example/prefix")
    assert endpoints(policy("")) == []
    for url in ("ftp://w.example", "w.example", "https://", "https://w.example/?x=1", "http://[::1", "http://\u00e9"):
        with pytest.raises(PolicyError, match="URL"):
            endpoints(policy(url))
