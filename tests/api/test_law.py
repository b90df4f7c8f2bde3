"""`POST /v1/law/assess` over real HTTP routing: the same answers as the engine, refusals that repeat nothing."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.http.law import MAX_BYTES, pointer
from incidents.law import Law

FACTS: dict[str, Any] = {
    "time_zone": "Europe/Madrid",
    "complete": True,
    "affected": [{"jurisdiction": "ES", "count": 4200}],
    "established_in": ["ES"],
    "role": ["controller"],
    "sectors": ["general"],
    "risk": "high",
    "clocks": {"awareness": "2026-10-23T16:00"},
}
SECRET = "Jane-Roe-555-12-3456"


@pytest.fixture(scope="module")
def law() -> Law:
    return Law.load()


def post(client: TestClient, document: object, **query: str) -> Any:
    return client.post("/v1/law/assess", json=document, params=query)


def test_the_answer_is_that_of_the_engine(client: TestClient, law: Law) -> None:
    response = post(client, FACTS)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["evaluations"] == [evaluation.as_json() for evaluation in law.assess(FACTS)]
    assert answer["law_version"] == law.version
    assert "Not legal advice" in answer["disclaimer"]
    assert answer["duties"]["eu-gdpr-33-1-authority"]["digest"] == law.duty("eu-gdpr-33-1-authority").digest
    owed = {e["duty"] for e in answer["evaluations"] if e["result"] in ("due", "due_without_fixed_time")}
    assert owed <= set(answer["duties"])


def test_other_readings_and_questions_stand_beside_the_evaluations(client: TestClient) -> None:
    answer = post(client, FACTS).json()
    (reading,) = [r for r in answer["readings"] if r["duty"] == "eu-gdpr-33-1-authority"]
    assert (reading["until_utc"], reading["later"]) == ("2026-10-26T15:00:00Z", True)
    assert answer["questions"] == []
    asked = post(client, {"time_zone": "UTC", "clocks": {"awareness": "2026-03-10T09:00"}}).json()["questions"]
    assert asked[0]["settles"] >= asked[-1]["settles"]
    assert asked[0]["text"].endswith("?")


def test_at_answers_what_was_owed_at_that_moment(client: TestClient) -> None:
    def initial(**query: str) -> str:
        found = post(client, FACTS, **query).json()["evaluations"]
        return next(e["result"] for e in found if e["duty"] == "eu-gdpr-33-1-authority")

    assert initial() == "due"
    assert initial(at="2026-10-23T13:59:59Z") == "undetermined"  # no clock says yet which version governs
    assert initial(at="2026-10-23T16:00:00+02:00") == "due"
    for wrong in ("yesterday", "2026-10-23T13:59:59", SECRET, "0001-01-01T00:00:00+23:59"):
        response = post(client, FACTS, at=wrong)
        assert response.status_code == 422
        assert response.json()["errors"][0]["pointer"] == "/at"
        assert SECRET not in response.text


def test_every_problem_is_reported_at_once_with_its_pointer(client: TestClient) -> None:
    document = FACTS | {
        "risk": SECRET,
        "affected": [{"jurisdiction": SECRET, "count": -1}],
        "clocks": {"occurrence": "2026-03-10T09:00", "determination": "2026-03-09T09:00", "awareness": SECRET},
        "conditions": {"malicious": SECRET},
        "levels": {"CN-CAC-2025": SECRET},
        SECRET: SECRET,
    }
    response = post(client, document)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == "/problems/invalid-facts"
    assert [fault["pointer"] for fault in problem["errors"]] == [
        "/affected/0/jurisdiction",
        "/affected/0/count",
        "/risk",
        "/levels/CN-CAC-2025",
        "/conditions/malicious",
        "/clocks/awareness",
        "",
        "/clocks/determination",
    ]
    assert SECRET not in response.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b'{"time_zone": "UTC", "time_zone": "UTC"}', 400),
        (b'{"numbers": {"cost_eur": NaN}}', 400),
        (b"[" * 5000 + b"]" * 5000, 400),
        (b'{"a":' * 21 + b"1" + b"}" * 21, 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b" " * (MAX_BYTES + 1), 413),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
def test_what_is_no_document_of_facts_is_refused(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/v1/law/assess", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", ["text/plain", "application/yaml", "application/x-www-form-urlencoded", None])
def test_only_json_is_taken(client: TestClient, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert client.post("/v1/law/assess", content=json.dumps(FACTS), headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("affected[0].minors.under_14", "/affected/0/minors/under_14"),
        ("clocks.processor_awareness", "/clocks/processor_awareness"),
        ("123456789", ""),
        ("affected[0].123456789", "/affected/0"),
        ("conditions.jane@example.org", "/conditions"),
        ("affected[0].[123456]", "/affected/0"),
        ("", ""),
    ],
)
def test_a_pointer_repeats_no_key_that_somebody_made_up(law: Law, path: str, wanted: str) -> None:
    from api.http.law import _FIELDS

    assert pointer(path, _FIELDS.union(*law.vocabulary.words.values(), law.vocabulary.level_schemes)) == wanted


def test_the_document_tells_the_truth(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/law/assess"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["required"] == ["time_zone"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    response = post(client, example)
    assert response.status_code == 200
    schema = document["components"]["schemas"]["AssessmentView"]
    assert set(response.json()) == set(schema["required"]) == set(schema["properties"])
    for part, view in (("evaluations", "EvaluationView"), ("readings", "ReadingView"), ("questions", "QuestionView")):
        fields = set(document["components"]["schemas"][view]["required"])
        listed = [*response.json()[part], *post(client, example | {"complete": True}).json()[part]]
        assert listed
        assert all(set(item) == fields for item in listed)
    assert {"400", "413", "415", "422"} <= set(operation["responses"])
