"""What crosses the socket means the same on the other side: errors and events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import errors
from ledger.cloudevents import CLASSIFICATIONS, read_event
from ledger.recovery.errors import BackupError, UnconfirmedCopyError
from ledger.sequencing.errors import FrameError
from ledger.sequencing.frames import MAX_MESSAGE, Refusal, Reply, format_reply, parse_reply
from ledger.sequencing.refusals import error_of, refusal_of
from ledger.sequencing.trusted import event_of
from ledger.store.sequencer import VersionConflictError
from ledger.witness.errors import AnchorOverdueError, HaltedError


def crossed(error):
    [refusal] = parse_reply(format_reply(Reply(1, (refusal_of(error),)))).results
    return error_of(refusal)


@pytest.mark.parametrize(
    "error",
    [
        errors.EventConflictError("Event 3: used before.", field="/id", index=3),
        errors.EventError("Event 7: time is none.", field="/data/é", index=7),
        errors.InputError("no", field="/x"),
        errors.StoreBusyError("held"),
        errors.OverloadedError("waiting"),
        errors.StoreFullError("full"),
        errors.StoreDamagedError("damaged"),
        errors.KeyMismatchError("other key"),
        AnchorOverdueError("late"),
        HaltedError("forked"),
        UnconfirmedCopyError("copy"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_it_was_raised(error):
    arrived = crossed(error)
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)


def test_an_error_that_no_worker_expects_arrives_as_its_nearest_base():
    assert type(crossed(VersionConflictError("stale"))) is errors.TocsinError
    assert type(crossed(errors.ErasedIdentityError("gone"))) is errors.ErasedError
    assert type(crossed(BackupError("no backup"))) is errors.TocsinError


def test_a_defect_arrives_without_what_it_says():
    arrived = crossed(KeyError("cust-1"))
    assert type(arrived) is errors.StoreError
    assert "KeyError" in str(arrived)
    assert "cust-1" not in str(arrived)


def test_a_long_or_broken_message_is_cut():
    assert len(str(crossed(errors.StoreError("é" * MAX_MESSAGE))).encode()) == MAX_MESSAGE
    assert str(crossed(errors.StoreError("half \ud83d pair"))) == "half ? pair"


def test_a_worker_refuses_an_error_it_does_not_know():
    for name in ("SystemExit", "VersionConflictError", "KeyError"):
        with pytest.raises(FrameError, match="one version"):
            error_of(Refusal(name, "?"))


PLAIN = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8)
KEYS = st.text("abcz~ ", min_size=1, max_size=5)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)
EVENTS = st.fixed_dictionaries(
    {
        "specversion": st.just("1.0"),
        "id": st.text('ab-"\\', min_size=1, max_size=5),
        "source": st.sampled_from(["urn:x", "/bench", "https://a.example/b"]),
        "type": st.sampled_from(["x.y.z.v1", "other"]),
    },
    optional={
        "time": st.none()
        | st.sampled_from(["2026-03-10T09:00:00Z", "2026-03-10t09:00:00.12345+01:30", "2026-03-10T09:00:00.5z"]),
        "data": st.none() | st.dictionaries(KEYS, VALUES, max_size=4),
        "subject": st.none() | st.text(max_size=5),
        "sequence": st.none() | st.integers(0, 9),
        "dataclassification": st.sampled_from(sorted(CLASSIFICATIONS)),
    },
)


@given(EVENTS)
def test_an_event_is_taken_up_again_as_it_was_read(value):
    read = read_event(value)
    assert event_of(read.canonical) == read


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"7", b"null", b"{}", b"{", b"\xff", b'{"id":"a","source":"b"}', b'{"id":1,"source":"b","type":"c"}',
     b'{"id":"a","source":"b","type":"c","time":"soon"}', b'{"id":"a","source":"b","type":"c","time":7}',
     b'{"id":"a","source":"b","type":"c","time":"2026-03-10T09:00:00+"}',
     b'{"id":"a","source":"b","type":"c","time":""}',
     b'{"id":"a","source":"b","type":"c","data":[]}'],
)  # fmt: skip
def test_what_is_no_event_is_refused(text):
    with pytest.raises(FrameError, match="validate"):
        event_of(text)
