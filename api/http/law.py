"""`POST /v1/law/assess`: which breach duties apply, why, and exactly when. Nothing is kept."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from threading import Lock
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.http.problems import KINDS, Fault, Problem, RefusedError, RequestError
from api.http.schemas import problems
from incidents.law import ADVISED, DISCLAIMER, RESULTS, Evaluation, Law, LawFactsError
from incidents.law.contradictions import PROCESSOR
from incidents.law.errors import Problem as FactProblem
from incidents.law.facts import FLAGS, MAPS, PLACES, SETS
from incidents.law.shape import parse_instant

MAX_BYTES: Final = 256 * 1024
"""Facts of the largest worked case have about 4,000 bytes."""
MAX_FAULTS: Final = 100
MAX_DEPTH: Final = 20
_JSON: Final = "application/json"
_STEP: Final = re.compile(r"([A-Za-z0-9_-]+)(?:\[(\d{1,6})\])?(?:\.|$)", re.ASCII)
_FIELDS: Final = frozenset(
    ("time_zone", "complete", "unknown", "affected", "jurisdiction", "count", "minors", "under_18", "under_14")
) | frozenset(("nexus", "kind", "medium", "risk", "levels", *SETS, *FLAGS, *MAPS, *PLACES))
"""Names of facts; with the words of the closed lists all that a pointer may repeat."""


class EvaluationView(BaseModel):
    """One duty and stage."""

    duty: str = Field(examples=["eu-gdpr-33-1-authority"])
    stage: str | None = Field(description="Null when a single result stands for all stages.")
    result: str = Field(json_schema_extra={"enum": list(RESULTS)})
    due_utc: str | None = Field(description="The exact instant, for limits in hours.")
    last_day: str | None = Field(description="The last local day, which runs to 24:00, for limits in days or months.")
    anchor: str | None = Field(description="The clock the date runs from.")
    why: list[str] = Field(description="Reasons, each with the citation.")
    missing: list[str] = Field(description="Facts that would decide, or that could still change the answer.")


class ReadingView(BaseModel):
    """Another reading of a limit: information beside the evaluation, never a target."""

    duty: str
    stage: str
    name: str = Field(examples=["regulation_1182_71_hours"])
    until_utc: str
    last_day: str | None
    later: bool = Field(description="True for an outer bound, false for a stricter aim.")
    words: str


class QuestionView(BaseModel):
    """One fact to find out, the most useful first."""

    path: str
    text: str
    settles: int = Field(ge=0, description="Duties that one answer would settle at best.")
    duties: list[str]
    hours: float | None = Field(description="The shortest limit at stake.")


class DutyView(BaseModel):
    """What a duty is, for those that are owed, advised or undetermined."""

    title: str
    law: str
    citation: str
    recipient: str
    confidence: str = Field(json_schema_extra={"enum": ["verified", "recalled"]})
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="Changes with every edit of the duty.")


class AssessmentView(BaseModel):
    """All evaluations of one incident. Not legal advice."""

    law_version: str = Field(pattern="^[0-9a-f]{64}$", description="Store it, and the digests, beside a decision.")
    disclaimer: str
    evaluations: list[EvaluationView]
    readings: list[ReadingView]
    questions: list[QuestionView]
    duties: dict[str, DutyView]


_FACTS_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": f"The facts of one incident, the same document that `tocsin law assess` reads; at most "
        f"{MAX_BYTES} bytes. Only `time_zone` is required; what is not stated is unknown.",
        "content": {
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["time_zone"],
                    "properties": {
                        "time_zone": {"type": "string", "description": "IANA name."},
                        "complete": {"type": "boolean", "default": False},
                        "affected": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["jurisdiction"],
                                "properties": {
                                    "jurisdiction": {"type": "string"},
                                    "count": {"type": "integer", "minimum": 0},
                                },
                            },
                        },
                        "clocks": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                },
                "example": {
                    "time_zone": "Europe/Madrid",
                    "affected": [{"jurisdiction": "ES", "count": 4200}],
                    "established_in": ["ES"],
                    "role": ["controller"],
                    "risk": "high",
                    "clocks": {"awareness": "2026-03-10T09:00"},
                },
            }
        },
    }
}

At = Annotated[
    str | None,
    Query(description="RFC 3339. Only what had happened by then counts: what was owed at that moment?", max_length=40),
]


def routes(load: Callable[[], Law] = Law.load) -> APIRouter:
    """The router.

    Args:
        load: gives the law; called once, with the first request.
    """
    router = APIRouter(tags=["law"])
    held: list[Law] = []
    lock = Lock()

    def law() -> Law:
        with lock:
            if not held:
                held.append(load())
        return held[0]

    @router.post(
        "/v1/law/assess",
        operation_id="assessLaw",
        summary="Evaluate every breach duty for one incident",
        response_class=Response,
        responses={
            200: {"model": AssessmentView},
            **problems(
                p400="The body is not JSON.",
                p413=f"More than {MAX_BYTES} bytes.",
                p415="Not application/json.",
                p422="Facts are wrong or contradict each other; errors[] points at every place.",
            ),
        },
        openapi_extra=_FACTS_BODY,
    )
    async def assess(request: Request, at: At = None) -> Response:
        """Say which duties apply, why, and when; nothing is stored and no value is repeated."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
            raise RequestError("unsupported-media-type", f"Facts are sent as {_JSON}.")
        instant = _instant(at)
        document = _parse(await _collect(request.stream()))
        return Response(await run_in_threadpool(_assess, law, document, instant), media_type=_JSON)

    return router


def _assess(law: Callable[[], Law], document: object, instant: dt.datetime | None) -> bytes:
    known = law()
    try:
        facts = known.facts(document)
    except LawFactsError as error:
        raise RefusedError(_refused(error.problems, known)) from None
    facts = facts.at(instant) if instant else facts
    evaluations = known.assess(facts)
    shown = dict.fromkeys(e.duty for e in evaluations if _counts(e))
    return orjson.dumps(
        {
            "law_version": known.version,
            "disclaimer": DISCLAIMER,
            "evaluations": [evaluation.as_json() for evaluation in evaluations],
            "readings": [reading.as_json() for reading in known.readings(facts)],
            "questions": [
                {"path": q.path, "text": q.text, "settles": q.settles, "duties": list(q.duties), "hours": q.hours}
                for q in known.questions(facts)
            ],
            "duties": {name: _duty(known, name) for name in shown},
        }
    )


def _counts(evaluation: Evaluation) -> bool:
    return evaluation.owed or evaluation.result in ADVISED or evaluation.result == "undetermined"


def _duty(law: Law, name: str) -> dict[str, str]:
    duty = law.duty(name)
    return {
        "title": duty.title,
        "law": duty.law,
        "citation": duty.citation,
        "recipient": duty.recipient.name,
        "confidence": duty.confidence,
        "digest": duty.digest,
    }


async def _collect(body: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for chunk in body:
        content += chunk
        if len(content) > MAX_BYTES:
            raise RequestError("too-large", f"Facts are larger than {MAX_BYTES} bytes.")
    return bytes(content)


def _parse(body: bytes) -> object:
    """JSON, strictly: UTF-8, no repeated key, no NaN, no depth that facts never have."""
    try:
        document = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RequestError("malformed-body", "The body is not one JSON object in UTF-8 with every key once.") from None
    if _depth(document) > MAX_DEPTH:
        raise RequestError("malformed-body", "The body is nested deeper than facts are.")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(_: str) -> float:
    raise ValueError


def _depth(value: object) -> int:
    level, here = 0, [value]
    while here and level <= MAX_DEPTH:
        level += 1
        here = [
            inner
            for outer in here
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return level


def _instant(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    instant = parse_instant(text)
    if instant is None:
        raise RequestError("invalid-request", "at is an RFC 3339 time with its offset.", pointer="/at")
    return instant


def _refused(found: Iterable[FactProblem], law: Law) -> Problem:
    names = _FIELDS.union(*law.vocabulary.words.values(), law.vocabulary.level_schemes)
    listed = list(found)
    faults = tuple(Fault(problem.text, pointer(problem.path, names)) for problem in listed[:MAX_FAULTS])
    detail = f"The facts have {len(listed)} problem{'s' if len(listed) > 1 else ''}; nothing was assessed."
    return Problem(KINDS["invalid-facts"], detail, faults=faults)


def pointer(path: str, names: Iterable[str]) -> str:
    """The JSON Pointer of a fact's path, cut before the first part that is no name of a fact.

    Args:
        path: `affected[0].count`; a key that somebody made up may stand in it.
        names: what may be repeated.
    """
    allowed = frozenset(names)
    kept: list[str] = []
    position = 0
    while (step := _STEP.match(path, position)) and step[1].removeprefix(PROCESSOR) in allowed:
        kept.append(step[1])
        if step[2] is not None:
            kept.append(step[2])
        position = step.end()
    return "".join(f"/{part}" for part in kept)
