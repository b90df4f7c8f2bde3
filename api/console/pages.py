"""The console's routes: plain server-rendered pages that work without any script."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, Final
from urllib.parse import parse_qs, quote

import orjson
from fastapi import APIRouter, Path
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.anchoring import Anchoring
from api.console import present
from api.console.health import spot_check
from api.console.looks import Looks
from api.console.ports import Incidents
from api.console.sentences import sentence
from api.http.announcements import Announcement, announced
from api.http.guard import COOKIE, SESSION_LIFE, Access, Sessions, session_secret
from api.http.log import IMMUTABLE, Index
from api.http.metrics import Metrics
from api.http.problems import KINDS, Problem, RequestError
from api.verification import Verification
from incidents.views import wording
from ledger import Ledger
from ledger.errors import NotFoundError

_HERE: Final = FilePath(__file__).parent
_STATIC_TYPES: Final = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_MAX_FORM: Final = 4096
_TIMELINE_SHOWN: Final = 200


class Console:
    """Renders pages over one ledger and its incidents."""

    def __init__(
        self,
        ledger: Ledger,
        incidents: Incidents,
        *,
        access: Access,
        sessions: Sessions,
        metrics: Metrics,
        notices: FilePath | None,
        exercise: bool,
        anchoring: Anchoring | None = None,
        verification: Verification | None = None,
    ) -> None:
        self._ledger = ledger
        self._incidents = incidents
        self._access = access
        self._sessions = sessions
        self._metrics = metrics
        self._notices = notices
        self._exercise = exercise
        self._anchoring = anchoring
        self._verification = verification
        self._looks = Looks(ledger, metrics)
        self._static = {file.name: file.read_bytes() for file in sorted((_HERE / "static").iterdir())}
        self._templates = _environment(self._static)

    def routes(self) -> APIRouter:
        """All pages."""
        router = APIRouter(default_response_class=HTMLResponse)
        router.add_api_route("/", self._overview, methods=["GET"])
        router.add_api_route("/incidents/{incident}", self._incident, methods=["GET"])
        router.add_api_route("/entries/{index}", self._entry, methods=["GET"])
        router.add_api_route("/problems/{name}", self._problem_kind, methods=["GET"])
        router.add_api_route("/static/{name}", self._static_file, methods=["GET"])
        if self._access.token_digest is not None:
            router.add_api_route("/login", self._login_form, methods=["GET"])
            router.add_api_route("/login", self._login, methods=["POST"])
            router.add_api_route("/logout", self._logout, methods=["POST"])
        return router

    def problem(self, request: Request, problem: Problem, instance: str) -> Response:
        """A problem as a page, for whoever asked for one; never looks at the store."""
        return self._page(
            request,
            "problem.html",
            status=problem.status or problem.kind.status,
            headers=problem.headers,
            problem=problem,
            instance=instance,
        )

    def announcements(self, request: Request, found: Sequence[Announcement]) -> Response:
        """The public list of announcements; it says nothing about the console."""
        return self._page(request, "announcements.html", found=found)

    def _page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        exercise: bool = False,
        **values: Any,
    ) -> HTMLResponse:
        content = self._templates.get_template(template).render(
            origin=self._ledger.origin,
            path=request.url.path,
            exercise=self._exercise or exercise,
            with_token=self._access.token_digest is not None,
            with_notices=bool(announced(self._notices)),
            **values,
        )
        return HTMLResponse(content, status, headers)

    def _overview(self, request: Request) -> HTMLResponse:
        incidents = self._incidents.list()
        return self._page(
            request,
            "overview.html",
            check=spot_check(self._ledger),
            standing=None if self._anchoring is None else self._anchoring.standing(),
            last=None if self._verification is None else self._verification.last(),
            incidents=incidents,
            waiting=present.waiting(incidents),
            now=self._ledger.clock(),
        )

    def _incident(self, request: Request, incident: str) -> HTMLResponse:
        view = self._incidents.view(incident)
        # Only after it was found: an address that somebody mistyped is not a look at anybody.
        look = self._looks.record(f"/incidents/{view.id}")
        rows = present.clock_rows(view)
        return self._page(
            request,
            "incident.html",
            exercise=view.exercise,
            incident=view,
            look=look,
            clocks=[row for row in rows if row.mark is not present.MET],
            met=[row for row in rows if row.mark is present.MET],
            folded=present.folded_rows(view),
            facts=[(state, present.current_facts(view.facts, state)) for state in ("known", "assumed", "unknown")],
            timeline=list(reversed(view.timeline))[:_TIMELINE_SHOWN],
        )

    def _entry(self, request: Request, index: Index) -> HTMLResponse:
        stored = self._ledger.entry(index)
        entry = stored.decode()
        payload = None if stored.payload is None else orjson.loads(stored.payload)
        return self._page(
            request,
            "entry.html",
            exercise=self._incidents.exercises(entry.stream),
            index=index,
            entry=entry,
            sentence=sentence(entry.type, payload),
            entry_text=_pretty(orjson.loads(stored.entry)),
            payload_text=None if payload is None else _pretty(payload),
            proof=self._ledger.prove(index).decode("utf-8", "replace"),
            last=self._ledger.size() - 1,
        )

    def _problem_kind(self, request: Request, name: Annotated[str, Path(max_length=40)]) -> HTMLResponse:
        kind = KINDS.get(name)
        if kind is None:
            raise NotFoundError("There is no kind of problem with this name.")
        return self._page(request, "problem_kind.html", kind=kind)

    def _static_file(self, name: str) -> Response:
        content = self._static.get(name)
        if content is None:
            raise NotFoundError("There is no such file.")
        # Templates link these with their digest, so a new version has another address.
        headers = {"Cache-Control": IMMUTABLE, "Content-Type": _STATIC_TYPES[FilePath(name).suffix]}
        return Response(content, headers=headers)

    def _login_form(self, request: Request) -> HTMLResponse:
        return self._page(request, "login.html", after=_local(request.query_params.get("next", "/")), wrong=False)

    async def _login(self, request: Request) -> Response:
        form = await _form(request)
        after = _local(form.get("next", "/"))
        if not self._access.accepts(form.get("token", "")):
            self._metrics.add("tocsin_sign_in_failures_total")
            return await run_in_threadpool(
                self._page,
                request,
                "login.html",
                status=KINDS["unauthenticated"].status,
                after=after,
                wrong=True,
            )
        response = RedirectResponse(after, 303)
        response.set_cookie(
            COOKIE,
            self._sessions.open(),
            max_age=int(SESSION_LIFE.total_seconds()),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    def _logout(self, request: Request) -> Response:
        self._sessions.close(session_secret(request.headers))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response


def _environment(static: Mapping[str, bytes]) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=present.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digests = {name: hashlib.sha256(content).hexdigest()[:12] for name, content in static.items()}
    environment.globals["static"] = lambda name: f"/static/{name}?v={digests[name]}"
    environment.globals["phases"] = list(wording.PHASES.items())
    environment.globals["exercise_banner"] = wording.EXERCISE_BANNER
    environment.filters |= {
        "count": wording.count,
        "left": wording.left,
        "until": present.until,
        "utc": present.utc,
        "local": present.local,
        "machine": present.machine,
        "words": wording.value,
        "places": present.places,
        "by_confidence": present.by_confidence,
        "label": wording.label,
        "segment": lambda text: quote(str(text), safe=""),
    }
    environment.globals["equation"] = present.equation
    return environment


def _pretty(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _local(target: str) -> str:
    """Where to go after signing in: a path on this server, or the first page."""
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable()
    return target if plain else "/"


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small urlencoded form, the last of each name."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM:
            raise RequestError("too-large", f"The form is larger than {_MAX_FORM} bytes.")
    try:
        fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=10)
    except ValueError:
        raise RequestError("malformed-body", "The form has too many fields.") from None
    return {name: values[-1] for name, values in fields.items()}
