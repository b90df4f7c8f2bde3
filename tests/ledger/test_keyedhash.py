"""HMAC-SHA-256 against the standard library's."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from ledger.keyedhash import keyed_hash


@given(st.binary(max_size=200), st.lists(st.binary(max_size=300), max_size=5))
def test_it_is_the_standard_librarys_hmac(key, messages):
    digest = keyed_hash(key)
    assert [digest(message) for message in messages] == [hmac.digest(key, message, "sha256") for message in messages]
