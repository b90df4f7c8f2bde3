"""Jobs that say what they were promised, and checks whether the promises were kept.

A job says a thing only when the call that promises it has returned. A check, made when whatever went wrong is over,
gives the list of what is not as it must be. So a job can be killed, made to fail, or lose power anywhere.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dying import ORIGIN, view

from ledger import Ledger, OwnEvent
from ledger.checkpoint import Checkpoint
from ledger.config import read_config
from ledger.errors import TocsinError
from ledger.forgetting.erasing import erase
from ledger.forgetting.scrub import finish
from ledger.merkle import consistency_proof, leaf_hash, root_hash
from ledger.notes import Signer, Verifier, open_note, sign_note, split_note
from ledger.proofs import verify_receipt
from ledger.recovery.backup import Backup, take_backup, write_keys
from ledger.recovery.restoring import read_keys, restore
from ledger.recovery.rotating import rotate
from ledger.verify import verify_database
from ledger.verifying.directory import verify_directory
from ledger.witness.config import make_witness
from ledger.witness.core import format_submission
from ledger.witness.errors import RefusedError
from ledger.witness.service import Witness, origin_hash

Say = Callable[[object], None]


class Job(NamedTuple):
    """A job and what surrounds it.

    Attributes:
        prepare: makes what the job needs in a new directory.
        run: does it, saying `{"promised": ...}` and `{"refused": ...}`.
        check: problems found afterwards, given what was said; and whether a refusal is `sure`: after a kill or a
            failed sync nobody can know whether what was refused reached the disk whole or not at all.
    """

    prepare: Callable[[Path], None]
    run: Callable[[Path, Say], None]
    check: Callable[..., list[str]]


# --- appending -------------------------------------------------------------------------------------------------

BATCHES = (1, 3, 2, 0, 4, 1)
"""Events in each batch; the one of none is an event of Tocsin's own."""


_BEFORE = 251


def batch(number: int) -> list[dict]:
    return [view(f"{number}-{part}") for part in range(BATCHES[number])]


def prepare_ledger(place: Path) -> None:
    place.mkdir()
    with Ledger.create(place / "data", ORIGIN) as ledger:
        # Close to the end of a tile, so that the job completes one.
        ledger.append([view(f"before-{number}") for number in range(_BEFORE - 1)])


def append(place: Path, say: Say) -> None:
    """Two sittings, so that a checkpoint of the write-ahead log lies in the middle; every second refusal is final."""
    for sitting in (range(3), range(3, len(BATCHES))):
        ledger = _opened(place / "data", say)
        if ledger is None:
            continue
        with closing(ledger):
            for number in sitting:
                for _ in range(2 - number % 2):
                    try:
                        promised = _append(ledger, number)
                    except TocsinError as error:
                        say({"refused": number, "error": type(error).__name__})
                    else:
                        say({"promised": number, **promised})
                        break
            with suppress(TocsinError):
                ledger.access.follow()


def _append(ledger: Ledger, number: int) -> dict:
    if not BATCHES[number]:
        indices = ledger.record([OwnEvent("org.tocsin.logging.sampled.v1", {"batch": number})])
        return {"own": indices}
    return {"receipts": [receipt.as_json() for receipt in ledger.append(batch(number))]}


def _opened(directory: Path, say: Say) -> Ledger | None:
    for _ in range(2):
        try:
            return Ledger.open(directory)
        except TocsinError as error:
            say({"refused": "open", "error": type(error).__name__})
    return None


def check_append(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    with Ledger.open(place / "data") as ledger:
        problems = _damage(ledger)
        promised = {item["promised"]: item for item in said if "promised" in item}
        there = {number: _places(ledger, number) for number in range(len(BATCHES))}
        problems += [
            f"batch {number} is half there" for number, found in there.items() if len(set(map(bool, found))) > 1
        ]
        for number, item in promised.items():
            problems += _kept(ledger, number, item)
        if sure:
            refused = {item["refused"] for item in said if "refused" in item} - promised.keys() - {"open"}
            problems += [f"batch {number} was refused and is there" for number in refused if any(there[number])]
        problems += _provable(ledger)
        # The log goes on, and what was not promised can be sent again.
        for number in range(len(BATCHES)):
            if BATCHES[number]:
                ledger.append(batch(number))
        ledger.access.follow()
        entries = [stored.decode() for stored in ledger.entries()]
        if len({(entry.source, entry.id) for entry in entries}) != len(entries):
            problems.append("an event is there twice")
        return problems + _damage(ledger)


def _places(ledger: Ledger, number: int) -> list[bool]:
    if not BATCHES[number]:
        return [any(_is_sample(stored.payload, number) for stored in ledger.entries())]
    return [ledger.find(event["source"], event["id"]) is not None for event in batch(number)]


def _is_sample(payload: bytes | None, number: int) -> bool:
    return payload == b'{"data":{"batch":%d}}' % number


def _kept(ledger: Ledger, number: int, item: dict) -> Iterator[str]:
    for index in item.get("own", ()):
        if index >= ledger.size() or not _is_sample(ledger.entry(index).payload, number):
            yield f"own event {number} is not at {index}"
    for receipt in item.get("receipts", ()):
        found = ledger.find(receipt["source"], receipt["id"])
        if found is None or found.as_json() != receipt:
            yield f"batch {number} does not have its receipt"


def _provable(ledger: Ledger) -> Iterator[str]:
    policy = f"log {ledger.vkey}\nquorum none\n".encode()
    size = ledger.size()
    indices = [*range(0, size, 50), *range(_BEFORE, size)]
    for index, proof in zip(indices, ledger.prove_many(indices), strict=True):
        if verify_receipt(proof, ledger.entry(index).entry, policy).index != index:
            yield f"entry {index} does not prove"


def _damage(ledger: Ledger) -> list[str]:
    found = verify_database(ledger.database, ledger.vkey, vault=ledger.vault)
    return [f"{damage.kind} at {damage.index}: {damage.message}" for damage in found.damage]


# --- making ----------------------------------------------------------------------------------------------------


def prepare_nothing(place: Path) -> None:
    place.mkdir()


def make(place: Path, say: Say) -> None:
    for _ in range(2):
        try:
            with Ledger.create(place / "data", ORIGIN) as ledger:
                [receipt] = ledger.append([view("first")])
                say({"promised": "made", "vkey": ledger.vkey, "receipt": receipt.as_json()})
        except TocsinError as error:
            say({"refused": "made", "error": type(error).__name__})
        else:
            return


def check_make(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    del sure
    promised = [item for item in said if "promised" in item]
    with Ledger.open(place / "data") if promised else Ledger.create(place / "data", ORIGIN) as ledger:
        problems = _damage(ledger)
        for item in promised:
            if ledger.vkey != item["vkey"] or ledger.find("urn:crash", "view-first") is None:
                problems.append("the ledger is not the one that was made")
        ledger.append([view("first")])
        if ledger.size() != 2:
            problems.append(f"the ledger has {ledger.size()} entries instead of 2")
        return problems + _damage(ledger)


# --- backing up ------------------------------------------------------------------------------------------------


def back_up(place: Path, say: Say) -> None:
    ledger = _opened(place / "data", say)
    if ledger is None:
        return
    with closing(ledger):
        with suppress(TocsinError):
            ledger.append([view("newest")])
        for name in ("first", "second"):
            try:
                take_backup(ledger, place / f"{name}.tocsin")
            except TocsinError as error:
                say({"refused": name, "error": type(error).__name__})
            else:
                say({"promised": name})


def check_back_up(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    problems = []
    promised = {item["promised"] for item in said if "promised" in item}
    for name in ("first", "second"):
        path = place / f"{name}.tocsin"
        if path.exists():
            with suppress(TocsinError):
                Backup.open(path).extract(None)
                continue
            problems.append(f"{path.name} has its name and is not whole")
        elif name in promised:
            problems.append(f"{path.name} is not there")
    with Ledger.open(place / "data") as ledger:
        problems += _damage(ledger)
        take_backup(ledger, place / "third.tocsin")
        Backup.open(place / "third.tocsin").extract(None)
    del sure
    return problems


# --- restoring -------------------------------------------------------------------------------------------------


def prepare_backup(place: Path) -> None:
    place.mkdir()
    with Ledger.create(place / "data", ORIGIN) as ledger:
        ledger.append([view("1"), view("2")])
        take_backup(ledger, place / "old.tocsin")
        write_keys(ledger, place / "old.keys")


def put_back(place: Path, say: Say) -> None:
    for _ in range(2):
        try:
            restore(Backup.open(place / "old.tocsin"), place / "copy", keys=read_keys(place / "old.keys"))
        except TocsinError as error:
            say({"refused": "restored", "error": type(error).__name__})
        else:
            say({"promised": "restored"})
            return


def check_put_back(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    del sure
    copy = place / "copy"
    if not any("promised" in item for item in said) and not copy.exists():
        restore(Backup.open(place / "old.tocsin"), copy, keys=read_keys(place / "old.keys"))
    with Ledger.open(copy) as ledger:
        problems = _damage(ledger)
        problems += ["the copy is not marked as unconfirmed"] if ledger.config.restored is None else []
        return problems + ([f"the copy has {ledger.size()} entries"] if ledger.size() != 3 else [])


# --- forgetting ------------------------------------------------------------------------------------------------

_CANARY = b"record-canary"


def prepare_person(place: Path) -> None:
    place.mkdir()
    with Ledger.create(place / "data", ORIGIN) as ledger:
        with ledger.database.write() as connection:
            ledger.vault.refer(connection, "actor", "officer")
        ledger.append([view("canary", person="canary", resource=_CANARY.decode()), view("other", person="other")])


def forget(place: Path, say: Say) -> None:
    ledger = _opened(place / "data", say)
    if ledger is None:
        return
    with closing(ledger):
        for _ in range(2):
            try:
                forget_canary(ledger)
            except TocsinError as error:
                say({"refused": "erased", "error": type(error).__name__})
            else:
                say({"promised": "erased"})
                return


def forget_canary(ledger: Ledger) -> None:
    by, ref = ledger.vault.find("actor", "officer"), ledger.vault.find("subject", "canary")
    assert by is not None
    needles = () if ref is None else erase(ledger, ref, basis="request", by=by).needles
    finish(ledger, by=by, needles=needles)


def check_forget(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    del sure
    problems = []
    promised = any("promised" in item for item in said)
    for again in (False, True):
        files = [path for path in (place / "data").rglob("*") if path.is_file()]
        if (promised or again) and any(_CANARY in path.read_bytes() for path in files):
            problems.append("what was erased is still in a file")
        with Ledger.open(place / "data") as ledger:
            known, gone = ledger.vault.find("subject", "canary") is not None, ledger.entry(1).payload is None
            problems += _damage(ledger)
            problems += ["the erasure is half done"] if known == gone else []
            problems += ["the person is still known"] if known and (promised or again) else []
            problems += ["another person is gone"] if ledger.vault.find("subject", "other") is None else []
        if not again:
            with Ledger.open(place / "data") as ledger:
                forget_canary(ledger)
    return problems


# --- changing the key ------------------------------------------------------------------------------------------


def change_key(place: Path, say: Say) -> None:
    ledger = _opened(place / "data", say)
    if ledger is None:
        return
    with closing(ledger):
        for _ in range(2):
            try:
                rotated = rotate(ledger)
            except TocsinError as error:
                say({"refused": "rotation", "error": type(error).__name__})
            else:
                say({"promised": rotated.new})
                break
        try:
            [receipt] = ledger.append([view("after")])
        except TocsinError as error:
            say({"refused": "append", "error": type(error).__name__})
        else:
            say({"receipt": receipt.as_json()})


def check_change_key(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    del sure
    problems = []
    with Ledger.open(place / "data") as ledger:
        for item in said:
            receipt = item.get("receipt")
            if receipt is not None:
                found = ledger.find(receipt["source"], receipt["id"])
                if found is None or found.as_json() != receipt:
                    problems.append("the event after the rotation is not there")
        ledger.append([view("last")])
        keys = [key.vkey for key in read_config(place / "data").keys]
        signed = [signature.key_id.hex() for signature in split_note(ledger.checkpoint())[1]]
        problems += ["the newest key does not sign"] if signed != [keys[-1].split("+")[1]] else []
        promised = [item["promised"] for item in said if "promised" in item]
        problems += ["the new key is forgotten" for key in promised if key not in keys]
    findings = verify_directory(place / "data")
    return problems + [f"{damage.kind} at {damage.index}: {damage.message}" for damage in findings.damage]


# --- witnessing ------------------------------------------------------------------------------------------------

SIZES = (1, 3, 4, 8)
_LOG = Signer.from_seed("log.example/one", b"\x11" * 32)


def _leaves(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(size)]


def _note(size: int) -> bytes:
    return sign_note(Checkpoint(_LOG.name, size, root_hash(_leaves(size))).format(), [_LOG])


def _submission(old: int, new: int) -> bytes:
    return format_submission(old, consistency_proof(_leaves(new), old), _note(new))


def prepare_witness(place: Path) -> None:
    place.mkdir()
    make_witness(place / "witness", "witness.example/w1")
    with Witness.open(place / "witness") as witness:
        witness.store.add_log(_LOG.name, _LOG.verifier)


def cosign(place: Path, say: Say) -> None:
    old = 0
    for sitting in (SIZES[:2], SIZES[2:]):
        with suppress(TocsinError), Witness.open(place / "witness") as witness:
            for size in sitting:
                for _ in range(2):
                    try:
                        lines = witness.add_checkpoint(_submission(old, size))
                    except RefusedError as error:
                        # What failed may have been stored all the same; the submitter asks again from there.
                        old = old if error.size is None else error.size
                        say({"refused": size, "stale": error.size})
                    except TocsinError as error:
                        say({"refused": size, "error": type(error).__name__})
                    else:
                        say({"promised": size, "lines": base64.b64encode(lines).decode()})
                        old = size
                        break


def check_cosign(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    del sure
    problems = []
    promised = [item for item in said if "promised" in item]
    with Witness.open(place / "witness") as witness:
        verifier = Verifier.from_vkey(witness.vkey)
        for item in promised:
            open_note(_note(item["promised"]) + base64.b64decode(item["lines"]), [verifier])
        remembered = 0
        with suppress(TocsinError):
            latest = witness.latest(origin_hash(_LOG.name))
            remembered = Checkpoint.parse(open_note(latest, [verifier]).text).size
        newest = 0
        for item in said:
            newest = max(newest, item.get("promised", 0))
            if item.get("stale") is not None and item["stale"] < newest:
                problems.append(f"size {newest} was cosigned, but then the witness remembered {item['stale']}")
        if remembered < newest:
            problems.append(f"size {newest} was cosigned, but the witness remembers {remembered}")
        # Whatever it remembers, it goes on from there and from nowhere else.
        for older in {0, *SIZES} - {remembered}:
            try:
                witness.add_checkpoint(_submission(older, 9))
            except RefusedError:
                continue
            problems.append(f"the witness went on from {older}")
            return problems
        witness.add_checkpoint(_submission(remembered, 9))
    return problems


def establish(place: Path, say: Say) -> None:
    for _ in range(2):
        try:
            make_witness(place / "witness", "witness.example/w1")
            with Witness.open(place / "witness") as witness:
                witness.store.add_log(_LOG.name, _LOG.verifier)
                lines = witness.add_checkpoint(_submission(0, 3))
        except RefusedError as error:
            say({"refused": "established", "stale": error.size})
            return
        except TocsinError as error:
            say({"refused": "established", "error": type(error).__name__})
        else:
            say({"promised": 3, "lines": base64.b64encode(lines).decode()})
            return


def check_establish(place: Path, said: list[Any], *, sure: bool) -> list[str]:
    if not any("promised" in item for item in said):
        make_witness(place / "witness", "witness.example/w1")
        with Witness.open(place / "witness") as witness:
            witness.store.add_log(_LOG.name, _LOG.verifier)
    return check_cosign(place, said, sure=sure)


JOBS = {
    "append": Job(prepare_ledger, append, check_append),
    "make": Job(prepare_nothing, make, check_make),
    "restore": Job(prepare_backup, put_back, check_put_back),
    "forget": Job(prepare_person, forget, check_forget),
    "establish": Job(prepare_nothing, establish, check_establish),
    "backup": Job(prepare_ledger, back_up, check_back_up),
    "rotate": Job(prepare_ledger, change_key, check_change_key),
    "witness": Job(prepare_witness, cosign, check_cosign),
}
