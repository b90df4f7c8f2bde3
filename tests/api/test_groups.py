"""Requests that share a commit: each gets its own answer, whatever becomes of the others."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from api.http import groups as module
from api.http.groups import Groups
from ledger import Ledger
from ledger.errors import EventConflictError, EventError, InputError, OverloadedError, StoreFullError, TocsinError
from ledger.exchange import Receipt

Make = Callable[..., dict[str, Any]]
Events = Sequence[Mapping[str, Any]]


class Counting:
    """The ledger, with the number of events in each list that it was given."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.lists: list[int] = []

    def append(self, events: Events, /) -> list[Receipt]:
        self.lists.append(len(events))
        return self.ledger.append(events)

    def batch(self, events: Events, /) -> Any:
        return self.ledger.batch(events)

    def append_each(self, batches: Sequence[Any], /) -> list[list[Receipt] | Exception]:
        return self.ledger.append_each(batches)


def send(groups: Groups, *requests: Events) -> list[list[Receipt] | BaseException]:
    """What each request is answered when all come at once."""

    async def run() -> list[list[Receipt] | BaseException]:
        return await asyncio.gather(*(groups.append(events) for events in requests), return_exceptions=True)

    return asyncio.run(run())


def ids(answer: list[Receipt] | BaseException) -> list[str]:
    assert isinstance(answer, list), answer
    return [receipt.id for receipt in answer]


def test_all_that_comes_at_once_is_one_list_and_each_gets_its_own_receipts(ledger: Ledger, make_event: Make) -> None:
    counting = Counting(ledger)
    answers = send(Groups(counting), [make_event("a"), make_event("b")], [make_event("c")], [make_event("d")])
    assert [ids(answer) for answer in answers] == [["a", "b"], ["c"], ["d"]]
    assert counting.lists == [4]
    for answer in answers:
        assert isinstance(answer, list)
        for receipt in answer:
            assert ledger.find(receipt.source, receipt.id) == receipt._replace(new=False) or receipt.new


@pytest.mark.parametrize("bad", [1, 2, 3, 5])
def test_a_refused_request_is_told_so_alone_and_at_its_own_place(ledger: Ledger, make_event: Make, bad: int) -> None:
    """With few refused ones and with more than are taken out one by one."""
    requests: list[Events] = []
    for number in range(8):
        events = [make_event(f"{number}-{item}") for item in range(2)]
        if number < bad:
            events[1] = make_event(f"{number}-1", source="not a uri")
        requests.append(events)
    answers = send(Groups(ledger), *requests)
    for number, answer in enumerate(answers):
        if number < bad:
            assert isinstance(answer, EventError)
            assert (answer.index, answer.field) == (1, "/source")
            assert "Event 1" in str(answer)
        else:
            assert ids(answer) == [f"{number}-0", f"{number}-1"]
    assert ledger.size() == 1 + 2 * (8 - bad)


def test_one_refused_request_costs_the_others_one_repetition(ledger: Ledger, make_event: Make) -> None:
    refusing = Refusing(ledger, EventError("Event 5 was refused.", index=5))
    requests = [[make_event(f"{number}-{item}") for item in range(2)] for number in range(4)]
    refusing.times = 1
    answers = send(Groups(refusing), *requests)
    assert [len(ids(answer)) for answer in answers] == [2] * 4
    assert (refusing.lists, refusing.alone) == ([8, 6, 2], 0)
    assert ids(answers[2])[0] in {receipt.id for receipt in ledger.receipts([7])}  # the odd one came last


def test_a_conflict_inside_one_list_refuses_the_later_one_and_a_repetition_is_known(
    ledger: Ledger, make_event: Make
) -> None:
    first, again, other = make_event("x"), make_event("x"), make_event("x", subject="other")
    one, two, three, four = send(Groups(ledger), [first], [again], [other], [make_event("y")])
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert ([receipt.new for receipt in one], [receipt.new for receipt in two]) == ([True], [False])
    assert one[0].index == two[0].index
    assert isinstance(three, EventConflictError)
    assert three.index == 0
    assert ids(four) == ["y"]
    assert ledger.size() == 3


def test_no_list_holds_more_than_an_appender_takes(
    ledger: Ledger, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS", 5)
    counting = Counting(ledger)
    requests = [[make_event(f"{number}-{item}") for item in range(size)] for number, size in enumerate([2, 3, 1, 5, 4])]
    answers = send(Groups(counting), *requests)
    assert [len(ids(answer)) for answer in answers] == [2, 3, 1, 5, 4]
    assert counting.lists == [5, 1, 5, 4]


class Refusing(Counting):
    """Refuses lists for a reason that names no event."""

    def __init__(self, ledger: Ledger, error: Exception) -> None:
        super().__init__(ledger)
        self.error = error
        self.alone = 0
        self.times = 100

    def append(self, events: Events, /) -> list[Receipt]:
        if len(events) > 1 and self.times:
            self.times -= 1
            self.lists.append(len(events))
            raise self.error
        return super().append(events)

    def append_each(self, batches: Sequence[Any], /) -> list[list[Receipt] | Exception]:
        self.alone += len(batches)
        return super().append_each(batches)


def test_what_one_event_makes_impossible_is_tried_again_for_each(ledger: Ledger, make_event: Make) -> None:
    refusing = Refusing(ledger, InputError("An entry is too large."))
    assert [ids(answer) for answer in send(Groups(refusing), [make_event("a")], [make_event("b")])] == [["a"], ["b"]]
    assert (refusing.lists, refusing.alone) == ([2], 2)


def test_a_store_that_fails_is_not_asked_again_for_each(ledger: Ledger, make_event: Make) -> None:
    refusing = Refusing(ledger, StoreFullError("No space."))
    answers = send(Groups(refusing), [make_event("a")], [make_event("b")])
    assert answers == [refusing.error] * 2
    assert (refusing.lists, refusing.alone) == ([2], 0)
    assert ids(send(Groups(refusing), [make_event("a")])[0]) == ["a"]


def test_it_goes_on_after_a_loop_that_ended_without_waiting(ledger: Ledger, make_event: Make) -> None:
    groups = Groups(ledger)

    async def leave() -> None:
        with ledger._sequencer._lock:
            groups.append([make_event("left")])
            await asyncio.sleep(0.01)

    asyncio.run(leave())
    assert ids(send(groups, [make_event("next")])[0]) == ["next"]
    assert ledger.find("https://crm.example.org/a", "left") is not None


def test_a_loop_that_was_closed_before_it_could_commit_leaves_that_to_the_next(
    ledger: Ledger, make_event: Make
) -> None:
    groups = Groups(ledger)

    async def leave() -> None:
        groups.append([make_event("left")])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()
    assert ids(send(groups, [make_event("next")])[0]) == ["next"]
    assert ledger.find("https://crm.example.org/a", "left") is not None


async def within(waiting: asyncio.Future[list[Receipt]]) -> list[Receipt]:
    """The answer, or a failure where there is none."""
    return await asyncio.wait_for(waiting, 20)


def test_without_a_thread_what_waits_is_refused_and_the_next_one_works(
    ledger: Ledger, make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(ledger)
    groups = Groups(counting)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            refused = [groups.append([make_event(name)]) for name in ("a", "b")]
            for waiting in refused:
                with pytest.raises(OverloadedError):
                    await within(waiting)
        assert ids(await within(groups.append([make_event("a")]))) == ["a"]

    asyncio.run(run())
    assert counting.lists == [1]


class Broken(Counting):
    """Breaks in ways that are nobody's answer, as often as it is told to."""

    def __init__(self, ledger: Ledger, failure: BaseException, times: int) -> None:
        super().__init__(ledger)
        self.failure = failure
        self.times = times

    def append(self, events: Events, /) -> list[Receipt]:
        if self.times:
            self.times -= 1
            raise self.failure
        return super().append(events)

    def append_each(self, batches: Sequence[Any], /) -> list[list[Receipt] | Exception]:
        return super().append_each(batches)[1:]  # one answer too few


class Panic(BaseException):
    """What compiled extensions raise, outside of `Exception`."""


@pytest.mark.parametrize(("failure", "size"), [(Panic(), 1), (Panic(), 3), (OSError(), 3), (StopIteration(), 1)])
def test_whatever_breaks_is_answered_and_the_next_one_works(
    ledger: Ledger, make_event: Make, failure: BaseException, size: int
) -> None:
    groups = Groups(Broken(ledger, failure, 1))

    async def run() -> None:
        for waiting in [groups.append([make_event(f"{number}")]) for number in range(size)]:
            with pytest.raises(TocsinError, match="not known"):
                await within(waiting)
        assert ids(await within(groups.append([make_event("next")]))) == ["next"]

    asyncio.run(run())
