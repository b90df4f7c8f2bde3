"""No damage of any kind passes, and the verdict says where it is."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.container import pack, unpack
from ledger.notes import Signer
from ledger.verify_bundle import MANIFEST, verify_bytes


def test_the_whole_bundle_is_intact(bundle, story):
    result = verify_bytes(bundle, vkey=story.log.signer.vkey)
    assert (result["verdict"], result["exit_code"], result["kind"]) == ("intact", 0, None)
    assert all(check["state"] == "proven" for check in result["checks"])


def test_without_a_pinned_key_the_origin_is_named_as_unchecked(bundle):
    result = verify_bytes(bundle)
    assert result["exit_code"] == 0
    assert result["checks"][-1]["state"] == "skipped"
    assert result["not_checked"][0].startswith("Whose key it is")


def test_every_single_flipped_byte_fails(small):
    for place in range(len(small)):
        changed = bytearray(small)
        changed[place] ^= 1 << place % 8
        result = verify_bytes(bytes(changed))
        assert result["exit_code"] in (2, 4), place
        assert result["where"], place


def test_every_truncation_fails(small):
    for length in range(0, len(small), 7):
        assert verify_bytes(small[:length])["exit_code"] in (2, 4), length
    assert verify_bytes(small[:-1])["exit_code"] == 2


def test_a_removed_or_inserted_byte_fails_everywhere(small):
    for place in range(0, len(small), 5):
        assert verify_bytes(small[:place] + small[place + 1 :])["exit_code"] in (2, 4), place
        assert verify_bytes(small[:place] + b"\x00" + small[place:])["exit_code"] in (2, 4), place


@given(data=st.data())
def test_flips_in_a_bundle_of_full_size_fail(bundle, data):
    place = data.draw(st.integers(0, len(bundle) - 1))
    changed = bytearray(bundle)
    changed[place] ^= data.draw(st.integers(1, 255))
    assert verify_bytes(bytes(changed))["exit_code"] in (2, 4)


@given(data=st.data())
def test_flips_behind_a_repaired_checksum_fail(small, data):
    """A forger repairs the zip's checksums; the signed hashes and the signature remain."""
    files = unpack(small)
    name = data.draw(st.sampled_from(sorted(files)))
    place = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[place] ^= data.draw(st.integers(1, 255))
    result = verify_bytes(pack({**files, name: bytes(changed)}))
    assert result["exit_code"] in (2, 4)
    if name not in (MANIFEST, "keys.txt"):
        assert (result["kind"], result["where"]) == ("files", name)


@given(data=st.data())
def test_flips_under_a_new_good_signature_fail(kit, small, story, data):
    """Even the ledger's own key cannot sign other evidence: proofs, commitments and roots remain."""
    files = unpack(small)
    checked = ["affected.ndjson", "checkpoint", "entries.ndjson", "keys.txt", "receipts.ndjson"]
    name = data.draw(st.sampled_from(checked))
    place = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[place] ^= data.draw(st.integers(1, 255))
    result = verify_bytes(kit.reseal(small, {name: bytes(changed)}, story.log.signer))
    assert (result["exit_code"], result["kind"] != "unexpected") == (2, True), result["message"]


def test_every_flipped_byte_of_the_manifest_fails(small):
    files = unpack(small)
    for place in range(len(files[MANIFEST])):
        changed = bytearray(files[MANIFEST])
        changed[place] ^= 1
        assert verify_bytes(pack({**files, MANIFEST: bytes(changed)}))["exit_code"] in (2, 4), place


@pytest.mark.parametrize("extra", [b"\x00", b"\n", b"PK\x05\x06" + bytes(18)])
def test_appended_and_prefixed_bytes_fail(small, extra):
    assert verify_bytes(small + extra)["exit_code"] == 2
    assert verify_bytes(extra + small)["exit_code"] == 2


def test_each_removed_member_is_named(small):
    files = unpack(small)
    for name in files:
        result = verify_bytes(pack({other: data for other, data in files.items() if other != name}))
        assert result["exit_code"] == (4 if name == MANIFEST else 2)
        assert name in (MANIFEST, "keys.txt") or result["where"] == name


def test_swapped_members_are_named(small):
    files = unpack(small)
    result = verify_bytes(pack({**files, "README.txt": files["policy"], "policy": files["README.txt"]}))
    assert (result["exit_code"], result["kind"], result["where"]) == (2, "files", "README.txt")


def test_an_extra_member_is_named(small):
    result = verify_bytes(pack({**unpack(small), "zzz.txt": b"hello"}))
    assert (result["exit_code"], result["kind"], result["where"]) == (2, "files", "zzz.txt")


def rewrite(data: bytes, **options: object) -> bytes:
    """The same members through an ordinary zip writer."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for info in source.infolist():
            target.writestr(info if not options else info.filename, source.read(info), **options)
        target.comment = b"" if options else b"a comment"
    return out.getvalue()


def test_a_compressed_member_is_refused(small):
    result = verify_bytes(rewrite(small, compress_type=zipfile.ZIP_DEFLATED))
    assert (result["exit_code"], result["kind"]) == (2, "container")


def test_a_comment_is_refused(small):
    assert verify_bytes(rewrite(small))["exit_code"] == 2


def test_a_duplicated_member_is_refused(small):
    out = io.BytesIO(small)
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("report.json", b"{}")
    assert verify_bytes(out.getvalue())["exit_code"] == 2
    first = small[: small.index(b"PK\x03\x04", 4)]
    result = verify_bytes(first + small)
    assert (result["kind"], result["where"]) == ("container", "README.txt")


def test_a_directory_that_lies_about_the_members_is_refused(small):
    """Central directory and local headers disagree: two readers would see two bundles."""
    place = small.rindex(b"report.json")
    changed = small[:place] + b"report.jsom" + small[place + 11 :]
    assert verify_bytes(changed)["exit_code"] == 2


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", bytes(100), b"PK\x05\x06" + bytes(18)])
def test_what_is_no_bundle_is_unreadable(data):
    result = verify_bytes(data)
    assert result["exit_code"] in (2, 4)
    assert result["verdict"] != "intact"


def test_an_ordinary_zip_is_unreadable():
    result = verify_bytes(pack({"a.txt": b"hello"}))
    assert (result["verdict"], result["exit_code"], result["where"]) == ("unreadable", 4, MANIFEST)


def test_a_newer_format_asks_for_a_newer_verifier(small, story):
    from ledger.notes import sign_note

    files = unpack(small)
    text = files[MANIFEST].decode().partition("\n\n")[0].replace("tocsin-bundle/v1", "tocsin-bundle/v2") + "\n"
    result = verify_bytes(pack({**files, MANIFEST: sign_note(text, [story.log.signer])}))
    assert (result["exit_code"], "newer" in result["message"]) == (4, True)


def test_a_bundle_forged_with_another_key_passes_alone_but_not_under_the_pinned_key(kit, story):
    forger = Signer.from_seed(kit.ORIGIN, b"\x66" * 32)
    fake = kit.tell()
    fake.log.signer = forger
    material = fake.log.material(list(range(1, len(fake.log.stored))), fake.members, fake.receipts)
    forged = kit.make(fake, b"pass\n", entries=material.entries, paths=material.paths)
    assert verify_bytes(forged)["exit_code"] == 0
    result = verify_bytes(forged, vkey=story.log.signer.vkey)
    assert (result["verdict"], result["exit_code"], result["kind"]) == ("not_anchored", 3, "key")


def test_a_stolen_file_list_signed_by_another_key_fails(kit, small):
    forger = Signer.from_seed(kit.ORIGIN, b"\x66" * 32)
    result = verify_bytes(kit.reseal(small, {}, forger))
    assert (result["exit_code"], result["kind"]) == (2, "signature")
    with_key = kit.reseal(small, {"keys.txt": f"{forger.vkey}\n".encode()}, forger)
    assert verify_bytes(with_key)["kind"] == "policy"
    policy = f"log {forger.vkey}\nquorum none\n".encode()
    with_policy = kit.reseal(with_key, {"policy": policy}, forger)
    assert verify_bytes(with_policy)["kind"] == "checkpoint"


def test_the_first_entry_of_the_log_names_the_key(kit, story):
    """Even a forger who re-signs the checkpoint stumbles over the log's own first entry."""
    forger = Signer.from_seed(kit.ORIGIN, b"\x66" * 32)
    forged = kit.tell()
    forged.log.stored[0] = story.log.stored[0]
    forged.log.signer = forger
    result = verify_bytes(kit.make(forged, b"pass\n"))
    assert (result["exit_code"], result["kind"], result["where"]) == (2, "key", "entry 0")
