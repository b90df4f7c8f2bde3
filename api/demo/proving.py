"""Third act: the file for the regulator, and damage that is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.beside import BESIDE
from api.demo import checks, story
from api.demo.errors import DemoError
from api.demo.stage import Stage
from incidents.regulator.bundle import write_bundle
from ledger.verify import verify_database


def prove_bundle(stage: Stage) -> tuple[Path, Mapping[str, Any]]:
    """Write the bundle, check it on a bare Python, and show that a damaged copy is noticed.

    Returns:
        Where it is, and what the verifier said about it.
    """
    bundle = stage.place.bundles / f"{stage.incident}.zip"
    with stage.narrator.step("Write the regulator's file and check it on a bare Python"):
        size = stage.ledger.size()
        written = write_bundle(stage.ledger, stage.service, stage.incident, bundle)
        stage.service.release_report(stage.incident, bundle.name, written.digest, log_size=size, by=story.COUNSEL)
        stage.narrator.say(f"{bundle}: {written.size:,} bytes, SHA-256 {written.digest[:16]}…")
        result = checks.check_bundle(bundle, stage.ledger.vkey)
        checks.expect_intact(result, "The bundle")
        stage.narrator.good("Intact, says the single-file verifier: elsewhere, without Tocsin, with no network.")
        copy = stage.place.damaged / bundle.name
        place = checks.damage_bundle(bundle, copy)
        broken = checks.check_bundle(copy, stage.ledger.vkey)
        checks.expect_damaged(broken["exit_code"], "The copy of the bundle")
        stage.narrator.caught(
            f"One bit flipped at byte {place:,} of a copy: {broken['verdict']}, {broken['kind']} in "
            f"{broken['where']}. {broken['message']}"
        )
    return bundle, result


def prove_ledger(stage: Stage) -> Mapping[str, Any]:
    """Show that a changed entry is named in a copy of the database, then verify the ledger itself."""
    with stage.narrator.step("Verify the ledger, and a copy of it with one changed byte"):
        index = next(stage.stolen()).index
        broken, place = checks.damage_database(stage.ledger, index)
        checks.expect_damaged(broken.exit_code, "The copy of the database")
        first = broken.damage[0]
        if first.index != index:
            raise DemoError(f"Entry {index} was damaged and entry {first.index} was named.")
        said = " ".join(damage.message for damage in broken.damage if damage.index == index)
        stage.narrator.caught(
            f"Byte {place:,} of a copy changed, in the record of the theft: entry {index:,} is named. {said}"
        )
        with stage.narrator.bar("Verifying") as tell:
            findings = verify_database(
                stage.ledger.database, stage.ledger.vkey, vault=stage.ledger.vault, progress=tell, beside=BESIDE
            )
        result = findings.as_json()
        checks.expect_intact(result, "The ledger")
        stage.narrator.good(
            f"The ledger itself is intact: {findings.size:,} entries, {findings.payloads:,} payloads and "
            f"{findings.checkpoints:,} signed tree heads hashed again; root {findings.root[:16]}…"
        )
    return result
