"""`tocsin law` as an outside test sees it: output, last line, exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from api.cli import common, main
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
    # The consoles are made at import, by whichever test came first; an environment variable may be too late.
    monkeypatch.setattr(common.out, "_width", 200)
    monkeypatch.setattr(common.err, "_width", 200)

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
    assert lines[0].split()[:3] == ["PASS", "fix-001", "ZA-22-IND"]


def test_check_fails_on_one_wrong_expectation(tocsin, tmp_path) -> None:
    (europe,) = [path for path in shipped_cases() if path.stem == "europe"]
    cases = yaml.safe_load(europe.read_text())[:3]
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
    for part in ("1798.82(f)", "15 calendar days after individual notice", "Not legal advice", "at least 501"):
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


def test_assess_shows_the_outer_bound_beside_the_target_and_explain_and_readings_do(tocsin, facts_file) -> None:
    _, output, _ = tocsin("assess", facts_file())
    assert "2026-10-26 15:00 CET" in output
    assert "outer bound (information only): 2026-10-26 16:00 CET" in output
    said = "outer bound 2026-10-26T15:00:00Z (regulation_1182_71_hours"
    assert said in tocsin("explain", "eu-gdpr-33-1-authority", facts_file())[1]
    assert said in tocsin("readings", facts_file())[1]
    (reading,) = json.loads(tocsin("readings", facts_file(), "--json")[1])
    assert (reading["until_utc"], reading["later"]) == ("2026-10-26T15:00:00Z", True)


def test_authorities_and_terms(tocsin) -> None:
    code, output, _ = tocsin("authorities", "DE-HE")
    assert code == 0
    assert "HBDI" in output
    assert "section 40 BDSG" in output
    assert len(json.loads(tocsin("authorities", "--json")[1])) == 47
    assert tocsin("authorities", "XX")[0] == 1
    listed = json.loads(tocsin("terms", "data_categories", "--json")[1])
    assert len(listed) == 78
    assert all(entry["meaning"] for entry in listed)
    assert "breach_types" in tocsin("terms")[1]
    code, _, errors = tocsin("terms", "colours")
    assert code == 1
    assert "data_categories" in errors


def test_changelog_and_lint(tocsin, tmp_path) -> None:
    code, output, _ = tocsin("changelog")
    assert code == 0
    assert "us-va-medical-government: the notes said" in output
    entries = json.loads(tocsin("changelog", "--json")[1])
    assert entries[-1]["changes"] == []
    assert tocsin("lint") == (0, "637 duties, 0 problems\n", "")
    from incidents.law.library import read_files
    from incidents.law.vocabulary import DATA

    for name, raw in read_files(DATA).items():
        path = tmp_path / "other" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    code, output, _ = tocsin("lint", "--law", tmp_path / "other")
    assert code == 1
    assert output.splitlines()[-1] == "637 duties, 1 problems"
    assert tocsin("changelog", "--since", tmp_path / "other")[1].splitlines()[-1] == "  changes:"


def test_risk_aids(tocsin, tmp_path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "law.md").read_text()
    blocks = [block.split("```")[0] for block in manual.split("```yaml\n")[1:]]
    (breach,) = [block for block in blocks if "conclusion:" in block]
    document = yaml.safe_load(breach)
    path = tmp_path / "breach.yaml"
    path.write_text(breach)
    code, output, _ = tocsin("risk", "breach", path)
    assert code == 0
    assert "ENISA severity 1.50: low" in output
    assert "It departs from the score" in output
    assert "Owed: eu-gdpr-34-individuals" in output
    assert json.loads(tocsin("risk", "breach", path, "--json")[1])["departs"] is True
    path.write_text(yaml.safe_dump(document["enisa"]))
    assert json.loads(tocsin("risk", "enisa", path, "--json")[1])["level"] == "low"
    assert "never sets the risk" in tocsin("risk", "enisa", path)[1]
    path.write_text("{phi: true, secured: false}")
    assert "HIPAA (45 CFR 164.402): breach" in tocsin("risk", "hipaa", path)[1]
    path.write_text("{phi: SECRET}")
    code, _, errors = tocsin("risk", "hipaa", path)
    assert (code, "phi:" in errors, "SECRET" in errors) == (1, True, False)


def test_the_contracts_hold_for_the_installed_program(tmp_path, cache) -> None:
    """Outside tests run the program itself: exit codes, the last line, JSON and nothing else on stdout."""
    import os
    import subprocess
    import sys

    program = Path(sys.executable).parent / "tocsin"
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}

    def run(*arguments):
        done = subprocess.run(  # the program under test
            [program, "law", *arguments], capture_output=True, text=True, env=environment, check=False, timeout=240
        )
        return done.returncode, done.stdout, done.stderr

    path = tmp_path / "facts.json"
    path.write_text(json.dumps(FACTS))
    code, output, errors = run("assess", str(path), "--json")
    assert code == 0
    evaluations = json.loads(output)
    assert list(evaluations[0]) == ["duty", "stage", "result", "due_utc", "last_day", "anchor", "why", "missing"]
    assert "Not legal advice" in errors
    case = {
        "id": "one",
        "facts": FACTS,
        "expected": [{"duty": "eu-gdpr-33-1-authority", "result": "due", "due_utc": "2026-10-26T14:00:00Z"}],
    }
    cases = tmp_path / "cases.yaml"
    cases.write_text(yaml.safe_dump([case]))
    assert run("check", str(cases)) == (0, "PASS one eu-gdpr-33-1-authority due\n1 passed, 0 failed\n", "")
    case["expected"][0]["due_utc"] = "2026-10-26T15:00:00Z"
    cases.write_text(yaml.safe_dump([case]))
    code, output, _ = run("check", str(cases))
    assert code == 1
    assert output.splitlines()[0].startswith("FAIL one eu-gdpr-33-1-authority ")
    assert output.splitlines()[-1] == "0 passed, 1 failed"
    path.write_text(json.dumps(FACTS | {"risk": "SECRET"}))
    code, output, errors = run("assess", str(path), "--json")
    assert (code, output) == (1, "")
    assert "risk:" in errors
    assert "SECRET" not in errors
