"""First act: from the access log to what the law asks for."""

from __future__ import annotations

from collections import Counter
from typing import Final

from api.demo import story, tables
from api.demo.stage import Stage
from ledger.encoding import parse_time
from ledger.importers.runner import import_cloudtrail

LOADED: Final = "loaded"
"""A file beside the input: directory and inventory are in the ledger. Loading them twice would do no harm."""

_TOLD_CLOCKS: Final = ("occurrence", "detection", "awareness")


def import_log(stage: Stage) -> None:
    """Record the access log."""
    with stage.narrator.step("Import the access log"):
        with stage.narrator.bar("Checking and recording") as tell:
            report = import_cloudtrail(
                stage.ledger, stage.world.cloudtrail, progress=lambda _, done, total: tell(done, total)
            )
        stage.narrator.say(
            f"{report.read:,} records read: {report.new:,} recorded, {report.present:,} were there already. "
            f"The log has {stage.ledger.size():,} entries, every batch under a signed tree head."
        )


def load_people(stage: Stage) -> None:
    """Load the people directory and the data inventory."""
    with stage.narrator.step("Load the people directory and the data inventory"):
        loaded = stage.place.world / LOADED
        if not loaded.exists():
            with stage.narrator.bar("People") as tell:
                stage.service.load_directory(stage.world.people, by=story.RESPONDER, progress=tell)
            stage.service.load_inventory(stage.world.inventory, by=story.RESPONDER)
            loaded.touch()
        stage.narrator.say(
            f"{stage.world.persons:,} names and addresses lie sealed in the vault; the log knows people by random "
            "pseudonyms only."
        )


def declare(stage: Stage) -> None:
    """Declare the incident, with what is known from the start."""
    with stage.narrator.step("Declare the incident"):
        known = [item.id for item in stage.service.list() if item.title == story.TITLE]
        stage.incident = (
            known[0]
            if known
            else stage.service.declare(
                story.TITLE,
                by=story.RESPONDER,
                time_zone=story.TIME_ZONE,
                organisation=story.ORGANISATION,
                facts=story.FACTS,
            )
        )
        stage.narrator.say(f"{stage.incident}: {story.TITLE}.")


def scope(stage: Stage) -> None:
    """Ask the log who is affected."""
    address = stage.world.intrusion.address
    with stage.narrator.step("Ask the log who is affected"):
        criteria = stage.service.criteria(addresses=[address])
        calls = list(stage.ledger.access.matches(criteria, stage.ledger.size()))
        kinds = Counter(f"{call.action.removeprefix('data.')} ({call.outcome})" for call in calls)
        what = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
        stage.narrator.say(f"An alarm named the address {address}. Its {len(calls)} calls are in the log: {what}.")
        if stage.view().affected is None:
            stage.service.scope(stage.incident, criteria, by=story.RESPONDER)
        found = stage.view().affected
        assert found is not None
        sure = ", ".join(f"{count:,} {name}" for name, count in found.by_confidence.items() if count)
        stage.narrator.say(
            f"Joined to the inventory: {found.count:,} people ({sure}) in {len(found.by_jurisdiction)} jurisdictions, "
            f"{found.under_18:,} of them children. The set is frozen under the root {found.root[:16]}…"
        )


def record_clocks(stage: Stage) -> None:
    """Record when what was known; the first clock is started by the entry of the theft itself."""
    with stage.narrator.step("Record when what was known"):
        held = {clock.name for clock in stage.view().clocks}
        first, theft = parse_time(stage.world.intrusion.first), next(stage.stolen()).index
        for moment in story.MOMENTS:
            if moment.name not in held:
                at = story.moment_at(moment, stage.place.began, first)
                entry = theft if moment.before is None else None
                stage.service.record_clock(
                    stage.incident, moment.name, at, by=story.RESPONDER, entry=entry, note=moment.note
                )
        for clock in stage.view().clocks:
            if clock.name in _TOLD_CLOCKS:
                stage.narrator.say(f"{clock.name:<11} {clock.at_local:%Y-%m-%d %H:%M %Z}  {clock.source_kind}")


def assess(stage: Stage) -> None:
    """Ask the law engine who must be told what by when."""
    with stage.narrator.step("Ask the law engine who must be told what by when"):
        if stage.view().assessment is None:
            stage.service.assess(stage.incident, by=story.RESPONDER)
        view = stage.view()
        dated = [line for line in view.deadlines if line.state == "running"]
        stage.narrator.say(
            f"{len(stage.service.law.duties):,} duties were looked at. {len(view.deadlines)} limits follow from the "
            f"facts, {len(dated)} of them on a date; the others say at once, promptly, or wait for an event."
        )
        stage.narrator.table("Limits on a date", tables.DUTY_COLUMNS, tables.duty_rows(view, dated), flexible=2)
