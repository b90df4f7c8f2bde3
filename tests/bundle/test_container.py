"""The container leaves no byte free, and both readings of its layout agree."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import verify_bundle
from ledger.container import ContainerError, pack, unpack
from ledger.errors import InputError

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}(/[a-z]{1,4})?", fullmatch=True)
file_sets = st.dictionaries(names, st.binary(max_size=60), min_size=1, max_size=5)


@given(file_sets)
def test_unpack_is_the_inverse_of_pack(files):
    assert unpack(pack(files)) == files


@given(file_sets)
def test_verifier_and_writer_agree_on_every_byte(files):
    data = pack(files)
    assert verify_bundle.write_container(files) == data
    assert verify_bundle.read_container(data) == files


@given(file_sets)
def test_ordinary_zip_tools_read_it(files):
    with zipfile.ZipFile(io.BytesIO(pack(files))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == files
        assert archive.namelist() == sorted(files)


@given(file_sets, st.data())
def test_any_changed_inserted_or_removed_byte_is_refused_by_both_readers(files, data):
    whole = pack(files)
    place = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    byte = bytes([data.draw(st.integers(0, 255))])
    for changed in (
        whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :],
        whole[:place] + byte + whole[place:],
        whole[:place] + whole[place + 1 :],
        whole[:place],
        whole + byte,
    ):
        if changed == whole:
            continue
        with pytest.raises(ContainerError):
            unpack(changed)
        with pytest.raises(verify_bundle.Refused):
            verify_bundle.read_container(changed)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_the_named_errors(data):
    with pytest.raises(ContainerError):
        unpack(data)
    with pytest.raises(verify_bundle.Refused):
        verify_bundle.read_container(data)


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a//b", "", "a/", "ü", "a\\b", ".hidden", "a b"])
def test_a_name_that_could_leave_the_folder_is_refused(name):
    with pytest.raises(InputError):
        pack({name: b""})


def test_an_empty_container_is_refused():
    with pytest.raises(InputError):
        pack({})
    with pytest.raises(ContainerError):
        unpack(b"PK\x05\x06" + bytes(18))
