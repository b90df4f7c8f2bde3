"""`tocsin law` as an outside test sees it: output, last line, exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from api.cli import main
from incidents.law.cases import shipped_cases

FACTS = {
    "time_zone": "Europe/Madrid", "complete": True, "established_in": ["ES"], "role": ["controller"],
    "affected": [{"jurisdiction": "ES", "count": 50}], "risk": "risk", "clocks": {"awareness": "2026-10-23T16:00"},
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tocsin(capsys, monkeypatch, cache):
    """Runs the command line; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["law", *(str(argument) for argument in arguments)])
        caught = capsys.readouterr()
        return ended.value.code or 0, caught.out, caught.err

    return run


@pytest.fixture
def facts_file(tmp_path):
    def write(suffix=".yaml", **fields):
        path = tmp_path / f"facts{suffix}"
        document = FACTS | fields
        path.write_text(json.dumps(document) if suffix == ".json" else yaml.safe_dump(document))
        return path

    return write


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_assess_prints_the_evaluations_as_json(tocsin, facts_file, suffix) -> None:
    code, output, _ = tocsin("assess", facts_file(suffix), "--json")
    evaluations = json.loads(output)
    assert code == 0
    (first,) = [e for e in evaluations if (e["duty"], e["stage"]) == ("eu-gdpr-33-1-authority", "initial")]
    assert list(first) == ["duty", "stage", "result", "due_utc", "last_day", "anchor", "why", "missing"]
    assert (first["result"], first["due_utc"], first["anchor"]) == ("due", "2026-10-26T14:00:00Z", "awareness")
    assert all("Art 33(1)" in reason for reason in first["why"])


def test_assess_shows_limits_in_local_time_and_utc(tocsin, facts_file) -> None:
    code, output, _ = tocsin("assess", facts_file())
    assert code == 0
    assert "2026-10-26 15:00 CET" in output
    assert "2026-10-26T14:00:00Z" in output
    assert "Not legal advice" in output
    assert output.index("eu-gdpr-33-1-authority") < output.index("eu-gdpr-33-5-register")
    assert "eu-gdpr-34-individuals" not in output
    assert "eu-gdpr-34-individuals" in tocsin("assess", facts_file(), "--all")[1]


def test_assess_asks_for_the_most_useful_fact(tocsin, facts_file) -> None:
    code, output, _ = tocsin("assess", facts_file(complete=False))
    assert code == 0
    assert "undetermined. To find out next:" in output
    code, output, _ = tocsin("questions", facts_file(complete=False), "--json")
    assert json.loads(output)[0]["settles"] > 1


def test_bad_facts_are_refused_with_every_path_and_no_value(tocsin, facts_file) -> None:
    code, output, errors = tocsin("assess", facts_file(risk="SECRET", sectors=["SECRET"]), "--json")
    assert (code, output) == (1, "")
    assert "risk:" in errors
    assert "sectors[0]:" in errors
    assert "SECRET" not in errors
    assert "Traceback" not in errors


def test_a_missing_or_broken_file_is_one_clear_error(tocsin, tmp_path) -> None:
    assert tocsin("assess", tmp_path / "none.yaml")[0] == 1
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    code, _, errors = tocsin("assess", broken)
    assert code == 1
    assert "broken.yaml" in errors
    assert tocsin("check", broken)[0] == 1


def test_check_without_arguments_runs_the_shipped_cases(tocsin) -> None:
    code, output, _ = tocsin("check")
    lines = output.splitlines()
    assert code == 0
    assert lines[-1] == f"{len(lines) - 1} passed, 0 failed"
    assert len(lines) > 600
    assert all(line.startswith("PASS ") for line in lines[:-1])
    assert lines[0].split()[:3] == ["PASS", "eu-003", "eu-gdpr-33-1-authority"]


def test_check_fails_on_one_wrong_expectation(tocsin, tmp_path) -> None:
    cases = yaml.safe_load(shipped_cases()[0].read_text())[:3]
    cases[1]["expected"][0]["due_utc"] = "2026-05-15T22:00:00Z"
    path = tmp_path / "cases.yaml"
    path.write_text(yaml.safe_dump(cases))
    code, output, _ = tocsin("check", path)
    failed = [line for line in output.splitlines() if line.startswith("FAIL")]
    assert code == 1
    assert len(failed) == 1
    assert failed[0].startswith("FAIL eu-004 eu-gdpr-33-1-authority ")
    assert output.splitlines()[-1].endswith(" passed, 1 failed")


def test_list_and_show(tocsin) -> None:
    code, output, _ = tocsin("list", "--jurisdiction", "JP", "--json")
    assert code == 0
    listed = json.loads(output)
    assert {entry["id"] for entry in listed} >= {"JP-APPI-26-PPC"}
    assert len(listed[0]["digest"]) == 64
    assert "us-ca-ag" in tocsin("list", "--jurisdiction", "US-CA")[1]
    assert "us-tx-ag" not in tocsin("list", "--jurisdiction", "US-CA")[1]
    assert tocsin("list", "--jurisdiction", "Nowhere")[0] == 1
    code, output, _ = tocsin("show", "us-ca-ag")
    assert code == 0
    for part in ("1798.82(f)", "15 calendar days after individual_notice", "Not legal advice", "at least 501"):
        assert part in output
    code, _, errors = tocsin("show", "us-ca-agg")
    assert code == 1
    assert "did you mean us-ca-ag" in errors
    assert json.loads(tocsin("show", "us-ca-ag", "--json")[1])["id"] == "us-ca-ag"


def test_explain_shows_the_tree(tocsin, facts_file) -> None:
    code, output, _ = tocsin("explain", "eu-gdpr-33-1-authority", facts_file())
    assert code == 0
    assert "risk at least risk: yes" in output
    assert "due 2026-10-26T14:00:00Z" in output


def test_the_example_of_the_manual_works(tocsin, tmp_path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "law.md").read_text()
    path = tmp_path / "facts.yaml"
    path.write_text(manual.split("```yaml\n")[1].split("```")[0])
    code, output, _ = tocsin("assess", path)
    assert code == 0
    assert "us-ca-individuals / main" in output
    assert "2026-04-09 24:00" in output


def test_diff_says_what_changed(tocsin, tmp_path) -> None:
    from incidents.law.library import read_files
    from incidents.law.vocabulary import DATA

    for name, raw in read_files(DATA).items():
        path = tmp_path / "old" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw.replace(b"amount: 72", b"amount: 71", 1) if name == "duties/eu.yaml" else raw)
    code, output, _ = tocsin("diff", tmp_path / "old")
    assert code == 1
    assert "eu-gdpr-33-1-authority stages[0].deadline.amount: 71 -> 72" in output
    assert tocsin("diff", tmp_path / "old", tmp_path / "old")[0] == 0
