"""A log made by hand from the pure parts, so that the bundle is tested without a database."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from incidents.regulator.bundle import Material, assemble, seal
from ledger import verify_bundle
from ledger.checkpoint import Checkpoint
from ledger.container import unpack
from ledger.encoding import canonical
from ledger.entries import Entry, StoredEntry, commit
from ledger.merkle import inclusion_proof, leaf_hash, root_hash
from ledger.notes import CosignatureSigner, Signer, add_signatures, sign_note
from ledger.rotation import ROTATED, Rotation

INCIDENT = "INC-2026-0001"
STREAM = "0f8fad5b-d9cb-569f-a165-70867728950e"
OTHER = "7c9e6679-7425-50de-944b-e07fc1f90ae7"
ORIGIN = "example.org/audit"
MADE = datetime(2026, 3, 12, 10, 0, tzinfo=UTC)
OWN = "org.tocsin.incident."


@dataclass
class HandLog:
    """Entries, payloads and salts of a log, appended one by one."""

    signer: Signer = field(default_factory=lambda: Signer.from_seed(ORIGIN, b"\x07" * 32))
    replaced: list[str] = field(default_factory=list)
    stored: list[StoredEntry] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, payload: Mapping[str, Any], stream: str = OTHER, version: int | None = None) -> int:
        index = len(self.stored)
        self.versions[stream] = self.versions.get(stream, 0) + 1 if version is None else version
        body, salt = canonical(payload), bytes([index % 251]) * 32
        time = f"2026-03-10T09:{index // 60:02d}:{index % 60:02d}.000Z"
        entry = Entry(
            commit(salt, body), f"e-{index}", time, "urn:tocsin:ledger", stream, time, kind, self.versions[stream]
        )
        self.stored.append(StoredEntry(index, entry.encode(), body, salt))
        return index

    def say(self, verb: str, by: str = "a_responder", version: int | None = None, **fields: Any) -> int:
        """An event of the incident itself."""
        return self.add(f"{OWN}{verb}.v1", {**fields, "by": by}, STREAM, version)

    def rotate(self, new: Signer, /, **changes: Any) -> int:
        """Change the signing key; `changes` replaces fields of the event's data."""
        rotation = Rotation.make(ORIGIN, len(self.stored), self.signer, new)
        self.replaced.append(self.signer.vkey)
        self.signer = new
        return self.add(ROTATED, {"data": {**rotation.data(), **changes}})

    def material(
        self,
        indices: list[int] | None = None,
        members: tuple[Mapping[str, Any], ...] = (),
        receipts: tuple[tuple[int, bytes], ...] = (),
        witnesses: tuple[CosignatureSigner, ...] = (),
    ) -> Material:
        leaves = [leaf_hash(item.entry) for item in self.stored]
        text = Checkpoint(ORIGIN, len(leaves), root_hash(leaves)).format()
        note = sign_note(text, [self.signer])
        note = add_signatures(note, [witness.cosign(note, 1_773_000_000) for witness in witnesses])
        chosen = sorted(range(len(leaves)) if indices is None else indices)
        return Material(
            INCIDENT,
            STREAM,
            (*self.replaced, self.signer.vkey),
            note,
            tuple(self.stored[index] for index in chosen),
            tuple(inclusion_proof(leaves, index) for index in chosen),
            members,
            receipts,
        )


def access(log: HandLog, resource: str, outcome: str = "success", actor: str = "a_intruder") -> int:
    return log.add(
        "org.tocsin.data.view.v1",
        {"data": {"actor": {"id": actor}, "outcome": outcome, "resource": {"id": resource, "type": "object"}}},
    )


def member(ref: str, entries: list[int], **fields: Any) -> dict[str, Any]:
    return {
        "confidence": "confirmed",
        "data_categories": ["email", "name"],
        "entries": entries,
        "entry_count": len(entries),
        "guardians": [],
        "jurisdiction": "ES",
        "language": "es",
        "legal_classes": [],
        "ref": ref,
        "under_14": False,
        "under_18": False,
        **fields,
    }


def scoped(members: list[dict[str, Any]], log_size: int) -> dict[str, Any]:
    counted = verify_bundle.count_members(members)
    return {
        "root": root_hash([leaf_hash(canonical(item)) for item in members]).hex(),
        "count": len(members),
        "log_size": log_size,
        "criteria": {"actors": ["a_intruder"], "since": "2026-03-10T09:00:00.000Z"},
        "summary": {
            **counted,
            "accesses": 2,
            "entries": sorted({index for item in members for index in item["entries"]}),
        },
        "difference": {"added": len(members), "removed": 0, "changed": 0},
    }


MESSAGES = [
    {
        "audience": "person", "channel": channel, "html": None, "language": "es", "subject": "Aviso",
        "text": "Hola [[name]]",
    }
    for channel in ("email", "letter")
]  # fmt: skip


def receipt(person: str, outcome: str, campaign: str = "c1") -> dict[str, Any]:
    return {
        "campaign": campaign,
        "channel": "email",
        "message_id": person.encode().hex(),
        "notice": hashlib.sha256(canonical(MESSAGES[0])).hexdigest(),
        "mode": "live",
        "outcome": outcome,
        "provider": "smtp:mail.example.org",
        "person_fp": person.encode().hex(),
        "salt": "00" * 16,
    }


@dataclass(frozen=True)
class Story:
    """A whole incident in a hand-made log, and what belongs beside it."""

    log: HandLog
    members: tuple[dict[str, Any], ...]
    receipts: tuple[tuple[int, bytes], ...]
    where: Mapping[str, int]


def tell(**changes: Any) -> Story:
    """An incident from access to closing; `changes` replaces a step's fields: tell(approve={"by": ...})."""
    log = HandLog()
    where: dict[str, int] = {}

    def say(step: str, verb: str, **fields: Any) -> None:
        where[step] = log.say(verb, **{**fields, **changes.get(step, {})})

    log.add("org.tocsin.logging.started.v1", {"data": {"origin": ORIGIN, "vkey": log.signer.vkey}})
    first = access(log, "arn:aws:s3:::bucket/a.csv")
    access(log, "arn:aws:s3:::bucket/other.csv", actor="a_worker")
    second = access(log, "arn:aws:s3:::bucket/b.csv")
    log.add("org.tocsin.inventory.loaded.v1", {"data": {"resources": 2, "digest": "00" * 32}})
    members = [
        member("s_aaa", [first]),
        member("s_bbb", [first, second], jurisdiction="BR", language=None, under_18=True, guardians=["s_aaa"]),
        member("s_ccc", [second], confidence="possible", jurisdiction=None, data_categories=["ssn"]),
    ]
    notice, digest = "person-es", hashlib.sha256(canonical(MESSAGES)).hexdigest()
    say(
        "declare", "declared", incident=INCIDENT, title="Bucket copied", time_zone="Europe/Madrid",
        organisation={"name": "Acme", "contact_email": "dpo@acme.example"},
    )  # fmt: skip
    say(
        "clock", "clock_recorded", name="awareness", at="2026-03-10T09:05:00.000Z", source_kind="person",
        source="a_responder", note="",
    )  # fmt: skip
    fact = {"path": "risk", "source_kind": "person", "source": "a_responder", "note": ""}
    say("assumed", "fact_recorded", state="assumed", value="risk", **fact)
    say("known", "fact_recorded", state="known", value="high", **fact)
    say("scope", "scoped", **scoped(members, len(log.stored)))
    decisions = [
        {
            "duty": "gdpr-33", "stage": "initial", "result": "due", "due_utc": "2026-03-13T09:05:00Z",
            "last_day": None, "anchor": "awareness", "why": ["risk_at_least: risk (Art. 33(1))"], "missing": [],
            "title": "Notification to the supervisory authority", "law": "GDPR", "recipient": "AEPD",
            "citation": "Regulation (EU) 2016/679, Art. 33(1)", "confidence": "recalled",
        },
        {
            "duty": "xx-none", "stage": "", "result": "not_required", "why": ["nobody affected there"],
        },
    ]  # fmt: skip
    say(
        "assess", "assessed", law_version="2026.11", digest="cd" * 32, log_size=9, facts={"risk": "high"},
        decisions=decisions, changed=[],
    )  # fmt: skip
    say(
        "draft", "notice_drafted", notice=notice, number=1, audience="person", language="es", form="individual",
        jurisdictions=["ES"], duties=["gdpr-34"], elements=["nature"], messages=MESSAGES[::-1], findings=[],
        content_hash=digest,
    )  # fmt: skip
    say("approve", "notice_approved", by="a_counsel", notice=notice, number=1, content_hash=digest)
    say("open", "campaign_opened", campaign="c1", notices={notice: digest}, owed=3, audience="owed")
    leaves = [canonical(receipt(ref, out)) for ref, out in (("s_aaa", "delivered"), ("s_bbb", "handed_over"))]
    block = {"campaign": "c1", "count": 2, "root": root_hash([leaf_hash(leaf) for leaf in leaves]).hex()}
    where["block"] = log.add("org.tocsin.dispatch.recorded.v1", {"data": {**block, **changes.get("block", {})}})
    balance = {
        "owed": 3, "queued": 0, "handed_over": 1, "delivered": 1, "failed": 0, "excluded": 1,
        "excluded_by_reason": {"no_contact_details": 1}, "possibly_repeated": 0,
    }  # fmt: skip
    say("finish", "campaign_finished", campaign="c1", balance=balance)
    say("told", "recipient_told", duty="gdpr-33", stage="initial", told_at="2026-03-10T09:00:12.000Z", evidence="")
    return Story(log, tuple(members), tuple((where["block"], leaf) for leaf in leaves), where)


STATED = {("gdpr-33", "initial"): {"due_local": "2026-03-13 10:05:00 +0100", "state": "met"}}


def make(story: Story, verifier: bytes | None = None, **changes: Any) -> bytes:
    """A full bundle; `changes` replaces fields of the material."""
    material = story.log.material(members=story.members, receipts=story.receipts)
    material = Material(**{**{name: getattr(material, name) for name in Material.__dataclass_fields__}, **changes})
    source = Path(verify_bundle.__file__).read_bytes() if verifier is None else verifier
    return assemble(material, story.log.signer, stated=STATED, made=MADE, verifier=source)


def about(data: bytes) -> dict[str, Any]:
    return verify_bundle.Manifest(unpack(data)[verify_bundle.MANIFEST]).fields()


def reseal(data: bytes, files: Mapping[str, bytes | None], signer: Signer, **head: Any) -> bytes:
    """The bundle with other files (None removes one), signed anew: what a forger with a key can make."""
    held: dict[str, bytes | None] = {**unpack(data), **files}
    held.pop(verify_bundle.MANIFEST)
    kept = {name: content for name, content in held.items() if content is not None}
    return seal({**about(data), **head}, kept, signer)


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    """The helpers of this file; with --import-mode=importlib a test cannot import its conftest."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def story() -> Story:
    return tell()


@pytest.fixture(scope="session")
def bundle(story: Story) -> bytes:
    return make(story)


@pytest.fixture(scope="session")
def small(story: Story, bundle: bytes) -> bytes:
    """The same evidence with a stub for PDF and verifier, so that every single byte of it can be tried."""
    return reseal(bundle, {"report.pdf": b"%PDF-1.7\n%%EOF\n", "verify_bundle.py": b"pass\n"}, story.log.signer)
