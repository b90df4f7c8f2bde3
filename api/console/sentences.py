"""One plain sentence per entry: what happened, said before any JSON is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.vocabulary import family_verb

Data = Mapping[str, Any]


def sentence(event_type: str, payload: Mapping[str, Any] | None) -> str:
    """What an entry says, in words; the type itself for a type without words."""
    if payload is None:
        return "The content of this entry was erased. That it existed, and what it was committed to, remains."
    verb = family_verb(event_type) or ""
    data = payload.get("data")
    content: Data = data if isinstance(data, Mapping) else payload
    if verb in _ACCESS:
        return _access(verb, content)
    say = _WORDS.get(verb)
    return say(content) if say else f"An event of type {event_type} was recorded."


_ACCESS: Final = {
    "data.view": "viewed",
    "data.search": "searched",
    "data.export": "exported",
    "data.create": "created",
    "data.modify": "changed",
    "data.delete": "deleted",
    "data.share": "shared",
    "data.disclose": "disclosed",
    "data.transfer": "transferred",
    "data.print": "printed",
    "data.download": "downloaded",
    "data.decrypt": "decrypted",
}
_NOT_DONE: Final = {
    "failure": " (it failed)",
    "denied": " (it was denied)",
    "error": " (it ended in an error)",
}


def _access(verb: str, data: Data) -> str:
    actor = _part(data, "actor")
    resource = _part(data, "resource")
    who = f"{str(actor.get('kind') or 'an').capitalize()} actor {actor.get('id') or 'without a name'}"
    what = str(resource.get("id") or resource.get("type") or "a resource that is not named")
    people = _people(data)
    return f"{who} {_ACCESS[verb]} {what}{people}{_NOT_DONE.get(str(data.get('outcome')), '')}."


def _people(data: Data) -> str:
    subjects = data.get("subjects")
    count = data.get("subjects_count") or (len(subjects) if isinstance(subjects, list) else 0)
    if not isinstance(count, int) or not count:
        return ""
    return ", which holds data of one person" if count == 1 else f", which holds data of {count:,} people"


def _part(data: Data, name: str) -> Data:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}


def _get(data: Data, name: str) -> str:
    value = data.get(name)
    return "?" if value is None else str(value)


_WORDS: Final[Mapping[str, Callable[[Data], str]]] = {
    "incident.declared": lambda d: (
        f"{'Exercise' if d.get('status') == 'Exercise' else 'Incident'} {_get(d, 'incident')} was declared: "
        f"{_get(d, 'title')}"
    ),
    "incident.fact_recorded": lambda d: f"A fact was recorded as {_get(d, 'state')}: {_get(d, 'path')}.",
    "incident.clock_recorded": lambda d: f"The clock “{_get(d, 'name')}” was set to {_get(d, 'at')}.",
    "incident.scoped": lambda d: f"The affected people were determined: {_get(d, 'count')}.",
    "incident.assessed": lambda d: f"The duties were assessed under rules {_get(d, 'law_version')[:12]}.",
    "incident.notice_drafted": lambda d: f"Notice {_get(d, 'notice')} was drafted, version {_get(d, 'number')}.",
    "incident.notice_approved": lambda d: f"Notice {_get(d, 'notice')} was approved.",
    "log.viewed": lambda d: f"Somebody opened the page {_get(d, 'page')} of the console.",
    "incident.organisation_stated": lambda _: "What the notices say about the organisation was stated.",
    "incident.campaign_opened": lambda d: (
        f"Dispatch {_get(d, 'campaign')} was opened: {_get(d, 'owed')} are to be told."
    ),
    "incident.campaign_finished": lambda d: f"Dispatch {_get(d, 'campaign')} was finished; its balance closed.",
    "incident.announced": lambda _: "A public announcement was made.",
    "incident.recipient_told": lambda d: (
        f"The recipient of the duty {_get(d, 'duty')} was told at {_get(d, 'told_at')}."
    ),
    "incident.report_released": lambda d: f"The report {_get(d, 'name')} was released.",
    "incident.closed": lambda _: "The incident was closed with its lessons.",
    "deadline.reminded": lambda d: f"A reminder: the duty {_get(d, 'duty')} is due at {_get(d, 'due')}.",
    "deadline.missed": lambda d: f"The limit of the duty {_get(d, 'duty')} passed at {_get(d, 'due')} and was missed.",
    "dispatch.planned": lambda d: f"Dispatch {_get(d, 'campaign')} was planned.",
    "dispatch.recorded": lambda d: f"Results of dispatch {_get(d, 'campaign')} were recorded.",
    "dispatch.halted": lambda d: f"Dispatch {_get(d, 'campaign')} was halted.",
    "dispatch.paused": lambda d: f"Dispatch {_get(d, 'campaign')} was paused.",
    "dispatch.resumed": lambda d: f"Dispatch {_get(d, 'campaign')} was resumed.",
    "dispatch.cancelled": lambda d: f"Dispatch {_get(d, 'campaign')} was cancelled.",
    "dispatch.expired": lambda d: f"Messages of dispatch {_get(d, 'campaign')} expired before they were sent.",
    "dispatch.finished": lambda d: f"Dispatch {_get(d, 'campaign')} was finished.",
    "directory.loaded": lambda _: "A directory of people was loaded.",
    "inventory.loaded": lambda _: "An inventory of resources and whose data they hold was loaded.",
    "logging.started": lambda _: "The ledger began.",
    "auth.login": lambda _: "Somebody signed in.",
    "auth.failed": lambda _: "A sign-in failed.",
}
