"""Bundles of a log whose key changed: followed from any key it had, and no further than both keys vouch."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from incidents.regulator.bundle import write_bundle
from incidents.service import IncidentService
from ledger import Ledger, OwnEvent
from ledger.container import unpack
from ledger.encoding import canonical, parse
from ledger.notes import CosignatureSigner, Signer, sign_note, split_note
from ledger.recovery.rotating import retire, rotate
from ledger.rotation import ROTATED, Rotation
from ledger.verify_bundle import verify_bytes

ORIGIN = "acme.example/audit"
WITNESS = CosignatureSigner.from_seed("w1.example", b"\x01" * 32)


class Clock:
    now = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def key_id(vkey: str) -> str:
    return vkey.split("+")[1]


def check(result: dict, name: str) -> dict:
    return next(row for row in result["checks"] if row["check"] == name)


def verdict(result: dict) -> tuple:
    return result["exit_code"], result["kind"], result["where"]


# --- A real ledger -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Create, declare, rotate twice: the bundles after each step, and the keys in order."""
    folder: Path = tmp_path_factory.mktemp("rotated")
    made = {}
    with Ledger.create(folder / "data", ORIGIN, clock=Clock()) as ledger:
        service = IncidentService(ledger)
        vkeys = [ledger.vkey]
        name = service.declare("Bucket copied", by="ana", time_zone="Europe/Madrid")
        vkeys.append(rotate(ledger).new)
        made["covering"] = write_bundle(ledger, service, name, folder / "covering.zip").path.read_bytes()
        # The vault's key rotates under the same event type and changes nothing about who signs.
        ledger.record([OwnEvent(ROTATED, {"purpose": "vault", "old": "a", "new": "b"})])
        made["once"] = write_bundle(ledger, service, name, folder / "once.zip").path.read_bytes()
        vkeys.append(rotate(ledger).new)
        ledger.record([OwnEvent("org.tocsin.log.viewed.v1", {"by": "x"})])
        made["twice"] = write_bundle(ledger, service, name, folder / "twice.zip").path.read_bytes()
    return made, vkeys


@pytest.mark.parametrize(("which", "count"), [("covering", 2), ("once", 2), ("twice", 3)])
def test_every_key_the_log_had_vouches_for_a_bundle_of_a_real_ledger(real, which, count):
    made, vkeys = real
    keys = vkeys[:count]
    assert unpack(made[which])["keys.txt"].decode().splitlines() == keys
    for place, vkey in enumerate(keys):
        policy = f"log {vkey}\nquorum none\n".encode()
        for result in (verify_bytes(made[which], vkey=vkey), verify_bytes(made[which], policy=policy)):
            assert result["exit_code"] == 0, result["message"]
            said = check(result, "anchor")["detail"]
            assert ("names an older key" in said) == (place < count - 1)
            for old, new in zip(keys[place:], keys[place + 1 :], strict=False):
                assert f"key {key_id(old)} was replaced by {key_id(new)} at entry " in said
            assert result["bundle"]["vkey"] == keys[-1]
            assert result["bundle"]["keys"] == keys


@pytest.mark.parametrize("which", ["covering", "once", "twice"])
def test_a_key_the_log_never_had_vouches_for_nothing(real, which):
    made, vkeys = real
    other = Signer.from_seed(ORIGIN, b"\x07" * 32).vkey
    for key in (other, *vkeys[2:][: which != "twice"]):
        assert verify_bytes(made[which], vkey=key)["exit_code"] == 3
        assert verify_bytes(made[which], policy=f"log {key}\nquorum none\n".encode())["exit_code"] == 3


def test_the_tree_head_that_covers_a_rotation_has_both_signatures(real):
    made, vkeys = real
    _, signatures = split_note(unpack(made["covering"])["checkpoint"])
    assert [signature.key_id.hex() for signature in signatures] == [key_id(vkeys[1]), key_id(vkeys[0])]


def test_flips_in_the_rotation_entries_of_a_real_bundle_fail(real):
    data = real[0]["twice"]
    start = data.index(b"entries.ndjson")
    for place in range(start, start + len(unpack(data)["entries.ndjson"]), 53):
        changed = bytearray(data)
        changed[place] ^= 0x01
        assert verify_bytes(bytes(changed), vkey=real[1][0])["exit_code"] in (2, 4), place


def test_a_compromised_key_is_named_and_whoever_pins_it_is_warned(tmp_path):
    with Ledger.create(tmp_path / "data", ORIGIN, clock=Clock()) as ledger:
        service = IncidentService(ledger)
        name = service.declare("Key stolen", by="ana", time_zone="Europe/Madrid")
        done, _ = retire(ledger, 1)
        data = write_bundle(ledger, service, name, tmp_path / "x.zip").path.read_bytes()
    old, new = verify_bytes(data, vkey=done.old), verify_bytes(data, vkey=done.new)
    assert old["exit_code"] == new["exit_code"] == 0
    said = f"What key {key_id(done.old)} signed for entries 1 to "
    assert [any(said in item for item in result["not_checked"]) for result in (old, new)] == [True, True]
    assert ["thief" in result["not_checked"][0] for result in (old, new)] == [True, False]


def test_a_log_that_continues_another_can_change_its_key_too(tmp_path):
    with Ledger.create(tmp_path / "data", ORIGIN, clock=Clock(), predecessor={"origin": "acme.example/old"}) as ledger:
        service = IncidentService(ledger)
        name = service.declare("Second log", by="ana", time_zone="Europe/Madrid")
        old = rotate(ledger).old
        data = write_bundle(ledger, service, name, tmp_path / "x.zip").path.read_bytes()
    assert verify_bytes(data, vkey=old)["exit_code"] == 0
    first = parse(unpack(data)["entries.ndjson"].splitlines()[0])
    assert parse(base64.b64decode(first["entry"]))["type"] == "org.tocsin.ledger.succeeded.v1"


# --- Forgeries: whoever holds the newest key signs everything anew ------------------------------------

A, B, C = (Signer.from_seed("example.org/audit", bytes([n]) * 32) for n in (0x07, 0x11, 0x12))


@pytest.fixture
def told(kit):
    """The story of the other tests, whose log then changed its key from A to B to C."""
    story = kit.tell()
    assert story.log.signer.vkey == A.vkey
    places = [story.log.rotate(signer) for signer in (B, C)]
    story.log.add("org.tocsin.log.viewed.v1", {"data": {}})
    return story, places


def test_the_hand_made_chain_holds(kit, told):
    data = kit.make(told[0], b"pass\n")
    for signer in (A, B, C):
        result = verify_bytes(data, vkey=signer.vkey)
        assert result["exit_code"] == 0, result["message"]
    assert check(result, "keys")["detail"].startswith("3 keys; key ")


def without(kit, story, *gone):
    material = story.log.material([i for i in range(len(story.log.stored)) if i not in gone], story.members)
    return kit.make(story, b"pass\n", entries=material.entries, paths=material.paths)


def test_a_missing_rotation_breaks_the_chain(kit, told):
    story, (one, two) = told
    for gone, where in (((one,), "keys.txt"), ((two,), "keys.txt"), ((one, two), "keys.txt"), ((0,), "entry 0")):
        assert verdict(verify_bytes(without(kit, story, *gone), vkey=A.vkey)) == (2, "key", where)


@pytest.mark.parametrize(
    ("listed", "where"),
    [([C], "entry 0"), ([A, C], "keys.txt"), ([B, A, C], "entry 0"), ([A, B, B, C], "keys.txt"), ([B, C], "entry 0")],
)
def test_keys_txt_lists_the_whole_chain_oldest_first(kit, told, listed, where):
    data = kit.make(told[0], b"pass\n")
    forged = kit.reseal(data, {"keys.txt": "".join(f"{key.vkey}\n" for key in listed).encode()}, C)
    assert verdict(verify_bytes(forged, vkey=C.vkey)) == (2, "key", where)


def test_a_key_that_was_replaced_cannot_sign_a_bundle(kit, told):
    data = kit.make(told[0], b"pass\n")
    assert verdict(verify_bytes(kit.reseal(data, {}, B), vkey=B.vkey))[:2] == (2, "signature")
    back = kit.reseal(data, {"keys.txt": f"{A.vkey}\n{C.vkey}\n{B.vkey}\n".encode()}, B)
    assert verify_bytes(back, vkey=B.vkey)["exit_code"] == 2


def statement(index, old, new, signers, origin="example.org/audit"):
    text = f"tocsin.org/key-rotation/v1\norigin {origin}\nindex {index}\nold {old.vkey}\nnew {new.vkey}\n"
    return sign_note(text, signers).decode()


FORGED = {
    "signed by the new key only": lambda n: {"statement": statement(n, A, B, [B])},
    "signed by the old key only": lambda n: {"statement": statement(n, A, B, [A])},
    "signed by another key": lambda n: {"statement": statement(n, A, B, [B, C])},
    "of another place": lambda n: {"statement": statement(n - 1, A, B, [B, A])},
    "of a later place": lambda n: {"statement": statement(n + 1, A, B, [B, A])},
    "of another log": lambda n: {"statement": statement(n, A, B, [B, A], "example.org/other")},
    "of other keys": lambda n: {"statement": statement(n, A, C, [C, A])},
    "the other way round": lambda n: {"statement": statement(n, B, A, [B, A])},
    "a bad signature": lambda n: {
        "statement": statement(n, A, B, [A]) + statement(n + 1, A, B, [B]).splitlines()[-1] + "\n"
    },
    "no statement": lambda _: {"statement": None},
    "no note": lambda _: {"statement": "x"},
    "no key": lambda _: {"new": 1},
    "a witness's key": lambda _: {"new": WITNESS.vkey},
    "a compromise in the future": lambda n: {"compromised_since": n + 1},
    "a compromise that is no number": lambda _: {"compromised_since": True},
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_rotation_is_damage_under_every_key(kit, how):
    story = kit.tell()
    place = story.log.rotate(B, **FORGED[how](len(story.log.stored)))
    story.log.add("org.tocsin.log.viewed.v1", {"data": {}})
    data = kit.make(story, b"pass\n")
    for signer in (A, B, C):
        result = verify_bytes(data, vkey=signer.vkey)
        assert result["exit_code"] == 2, how
        assert result["where"] == f"entry {place}"
        assert check(result, "keys")["state"] == "failed"


def test_a_thief_without_the_old_key_cannot_lead_a_chain_away_from_it(kit):
    """The statement names the old key, but only the thief signed: twice, once under a name not his."""
    story, place = kit.tell(), None
    thief = Signer.from_seed(kit.ORIGIN, b"\x66" * 32)
    place = len(story.log.stored)
    text = statement(place, A, thief, [thief])
    line = text.splitlines()[-1]
    blob = base64.b64decode(line.split()[-1])
    old_id = bytes.fromhex(key_id(A.vkey))
    fake = f"{text}\u2014 {kit.ORIGIN} {base64.b64encode(old_id + blob[4:]).decode()}\n"
    story.log.rotate(thief, statement=fake)
    assert verdict(verify_bytes(kit.make(story, b"pass\n"), vkey=A.vkey)) == (2, "signature", f"entry {place}")


def test_reordered_rotations_are_refused(kit):
    story = kit.tell()
    log = story.log
    for old, new in ((B, C), (A, B)):
        log.add(ROTATED, {"data": Rotation.make(kit.ORIGIN, len(log.stored), old, new).data()})
    last = len(log.stored) - 1
    log.signer, log.replaced = C, [A.vkey, B.vkey]
    log.add("org.tocsin.log.viewed.v1", {"data": {}})
    assert verdict(verify_bytes(kit.make(story, b"pass\n"), vkey=A.vkey)) == (2, "key", f"entry {last}")


def test_a_key_never_comes_back(kit, told):
    story, _ = told
    place = story.log.rotate(A)
    story.log.add("org.tocsin.log.viewed.v1", {"data": {}})
    assert verdict(verify_bytes(kit.make(story, b"pass\n"), vkey=A.vkey)) == (2, "key", f"entry {place}")


def test_the_tree_head_that_covers_a_rotation_needs_the_old_key_too(kit):
    story = kit.tell()
    story.log.rotate(B)
    assert verdict(verify_bytes(kit.make(story, b"pass\n"), vkey=A.vkey)) == (2, "checkpoint", "checkpoint")
    note = story.log.material().checkpoint
    both = sign_note(split_note(note)[0], [B, A])
    assert verify_bytes(kit.make(story, b"pass\n", checkpoint=both), vkey=A.vkey)["exit_code"] == 0


def test_a_rotation_whose_payload_is_withheld_is_not_followed(kit, told):
    story, (one, _) = told
    data = kit.make(story, b"pass\n")
    lines = [parse(line) for line in unpack(data)["entries.ndjson"].splitlines()]
    lines[one].update(payload=None, salt=None, withheld="erased")
    forged = kit.reseal(data, {"entries.ndjson": b"".join(canonical(line) + b"\n" for line in lines)}, C)
    assert verdict(verify_bytes(forged, vkey=A.vkey)) == (2, "key", f"entry {one}")


def test_what_a_producer_calls_a_rotation_changes_nothing(tmp_path):
    stolen = Signer.from_seed(ORIGIN, b"\x66" * 32)
    with Ledger.create(tmp_path / "data", ORIGIN, clock=Clock()) as ledger:
        service = IncidentService(ledger)
        name = service.declare("Bucket copied", by="ana", time_zone="Europe/Madrid")
        event = {
            "specversion": "1.0",
            "id": "1",
            "source": "urn:acme:storage",
            "type": ROTATED,
            "time": "2026-03-10T08:00:00.000Z",
            "datacontenttype": "application/json",
            "data": {
                "actor": {"id": "acme-rotator", "kind": "service"},
                "outcome": "success",
                "purpose": "log",
                "details": {"old": ledger.vkey, "new": stolen.vkey},
            },
        }
        ledger.append([event])
        vkey = ledger.vkey
        data = write_bundle(ledger, service, name, tmp_path / "x.zip").path.read_bytes()
    assert verify_bytes(data, vkey=vkey)["exit_code"] == 0
    assert verify_bytes(data, vkey=stolen.vkey)["exit_code"] == 3


def test_a_witness_quorum_is_still_demanded_from_whoever_pins_an_older_key(kit, told):
    story, _ = told
    policy = f"log {A.vkey}\nwitness w1 {WITNESS.vkey}\nquorum w1\n".encode()
    assert verify_bytes(kit.make(story, b"pass\n"), policy=policy)["exit_code"] == 3
    cosigned = story.log.material(witnesses=(WITNESS,)).checkpoint
    assert verify_bytes(kit.make(story, b"pass\n", checkpoint=cosigned), policy=policy)["exit_code"] == 0


def test_a_program_that_had_the_ledger_open_before_the_change_makes_a_bundle_with_the_new_key(tmp_path):
    clock = Clock()
    with Ledger.create(tmp_path / "data", ORIGIN, clock=clock) as server:
        service = IncidentService(server)
        name = service.declare("Bucket copied", by="ana", time_zone="Europe/Madrid")
        with Ledger.open(tmp_path / "data", clock=clock) as shell:
            done = rotate(shell)
        data = write_bundle(server, service, name, tmp_path / "x.zip").path.read_bytes()
    assert unpack(data)["keys.txt"].decode().splitlines() == [done.old, done.new]
    assert verify_bytes(data, vkey=done.old)["exit_code"] == 0


def test_a_rotation_that_starts_from_another_key_is_refused_where_it_stands(kit):
    story = kit.tell()
    story.log.rotate(B)
    story.log.signer = C
    place = story.log.rotate(Signer.from_seed(kit.ORIGIN, b"\x13" * 32))
    story.log.add("org.tocsin.log.viewed.v1", {"data": {}})
    result = verify_bytes(kit.make(story, b"pass\n"), vkey=A.vkey)
    assert verdict(result) == (2, "key", f"entry {place}")
    assert "does not start from the key before" in result["message"]


def test_a_rotation_to_a_key_of_another_name_is_refused(kit):
    """Signed by both, but a key that bears another log's name never signs for this one."""
    story = kit.tell()
    stranger = Signer.from_seed("example.org/other", b"\x14" * 32)
    place = len(story.log.stored)
    story.log.add(ROTATED, {"data": {"purpose": "log", "compromised_since": None, "old": A.vkey, "new": stranger.vkey,
                                     "statement": statement(place, A, stranger, [stranger, A])}})  # fmt: skip
    story.log.signer, story.log.replaced = B, [A.vkey]
    story.log.add("org.tocsin.log.viewed.v1", {"data": {}})
    assert verdict(verify_bytes(kit.make(story, b"pass\n"), vkey=A.vkey)) == (2, "key", f"entry {place}")


def test_a_policy_with_an_old_and_the_newest_key_needs_no_rotation(kit, told):
    policy = f"log {A.vkey}\nlog {C.vkey}\nquorum none\n".encode()
    result = verify_bytes(kit.make(told[0], b"pass\n"), policy=policy)
    assert (result["exit_code"], check(result, "anchor")["detail"]) == (
        0,
        f"{kit.ORIGIN} is vouched for by what you gave",
    )
