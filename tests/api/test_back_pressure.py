"""A store that has stalled: requests are refused at once and do not pile up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from api.http import cloudevents
from api.http.ingest import Ingest
from api.http.metrics import Metrics
from api.http.problems import of_error
from ledger import Ledger
from ledger.errors import OverloadedError

HEADERS = [("content-type", cloudevents.STRUCTURED)]


async def body(event: dict[str, Any]) -> AsyncIterator[bytes]:
    yield orjson.dumps(event)


@pytest.mark.parametrize("limits", [{"max_waiting": 2}, {"max_waiting_bytes": 700}])
def test_what_comes_while_too_much_waits_is_refused_and_the_rest_is_kept(
    ledger: Ledger, make_event: Callable[..., dict[str, Any]], limits: dict[str, int]
) -> None:
    ingest = Ingest(ledger, Metrics(), **limits)

    async def run() -> None:
        with ledger._sequencer._lock:  # the store has stalled
            held = [asyncio.create_task(ingest.respond(HEADERS, body(make_event(f"held-{n}")))) for n in range(2)]
            await asyncio.sleep(0.01)
            with pytest.raises(OverloadedError) as caught:
                await ingest.respond(HEADERS, body(make_event("refused")))
        assert [response.status_code for response in await asyncio.gather(*held)] == [201, 201]
        assert (await ingest.respond(HEADERS, body(make_event("refused")))).status_code == 201
        problem = of_error(caught.value)
        assert (problem.kind.name, problem.kind.status, problem.headers["Retry-After"]) == ("overloaded", 503, "1")

    asyncio.run(run())
    assert ledger.size() == 4


def test_a_client_that_went_away_takes_nobody_with_it(
    ledger: Ledger, make_event: Callable[..., dict[str, Any]]
) -> None:
    ingest = Ingest(ledger, Metrics())

    async def run() -> None:
        with ledger._sequencer._lock:
            gone, stays = (
                asyncio.create_task(ingest.respond(HEADERS, body(make_event(name)))) for name in ("gone", "stays")
            )
            await asyncio.sleep(0.01)
            gone.cancel()
            await asyncio.sleep(0.01)
        assert (await stays).status_code == 201
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(run())
    assert ledger.find("https://crm.example.org/a", "stays") is not None


def test_requests_that_wait_together_share_one_commit(
    ledger: Ledger, make_event: Callable[..., dict[str, Any]]
) -> None:
    ingest = Ingest(ledger, Metrics())

    async def run() -> list[int]:
        answers = await asyncio.gather(*(ingest.respond(HEADERS, body(make_event(f"e-{n}"))) for n in range(64)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [201] * 64
    with ledger.database.read() as connection:
        commits = connection.execute("SELECT count(*) FROM checkpoint").fetchone()[0]
    assert commits <= 4
