"""The verifier's own Ed25519 says what RFC 8032 and libsodium say."""

from __future__ import annotations

import nacl.exceptions
import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.verify_bundle import verify_ed25519

L = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19

# RFC 8032 section 7.1: secret key, public key, message, signature.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]


def sodium(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        nacl.signing.VerifyKey(public).verify(message, signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.CryptoError, ValueError):
        return False
    return True


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_vectors_of_rfc_8032(public, message, signature):
    key, text, signed = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify_ed25519(key, text, signed)
    assert not verify_ed25519(key, text + b"\x00", signed)
    for place in range(0, 64, 7):
        flipped = bytearray(signed)
        flipped[place] ^= 1
        assert not verify_ed25519(key, text, bytes(flipped))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_signatures_of_libsodium_are_accepted(seed, message):
    key = nacl.signing.SigningKey(seed)
    assert verify_ed25519(bytes(key.verify_key), message, key.sign(message).signature)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=16), st.integers(0, 95), st.integers(1, 255))
def test_a_changed_byte_of_key_or_signature_is_judged_as_libsodium_judges_it(seed, message, place, flip):
    key = nacl.signing.SigningKey(seed)
    whole = bytearray(bytes(key.verify_key) + key.sign(message).signature)
    whole[place] ^= flip
    public, signature = bytes(whole[:32]), bytes(whole[32:])
    assert verify_ed25519(public, message, signature) == sodium(public, message, signature) is False


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64), st.binary(max_size=8))
def test_random_keys_and_signatures_are_judged_as_libsodium_judges_them(public, signature, message):
    assert verify_ed25519(public, message, signature) == sodium(public, message, signature)


@given(st.binary(min_size=32, max_size=32), st.integers(1, 7))
def test_a_scalar_beyond_the_group_order_is_refused(seed, times):
    key = nacl.signing.SigningKey(seed)
    signature = key.sign(b"text").signature
    scalar = int.from_bytes(signature[32:], "little") + times * L
    if scalar < 2**256:
        forged = signature[:32] + scalar.to_bytes(32, "little")
        assert not verify_ed25519(bytes(key.verify_key), b"text", forged)


# Encodings of points of order 1, 2, 4 and 8, canonical and not.
_ORDER_8 = (
    2707385501144840649318225287225658788936804267575313519463743609750303021,
    55188659117513257062467267217118295137698188065244968500265048394206261417927,
)
SMALL = [y.to_bytes(32, "little") for y in (0, 1, P - 1, P, P + 1)]
SMALL += [y.to_bytes(32, "little") for y in (*_ORDER_8, _ORDER_8[1])]
SMALL += [bytes([*point[:31], point[31] | 0x80]) for point in SMALL]


@pytest.mark.parametrize("point", SMALL)
@pytest.mark.parametrize("scalar", [0, 1, 8])
def test_small_order_keys_and_commitments_are_refused(point, scalar):
    """With such a key, R = identity and S = 0 would sign every message."""
    for first in SMALL:
        signature = first + scalar.to_bytes(32, "little")
        assert not verify_ed25519(point, b"any message", signature)
    key = nacl.signing.SigningKey(b"\x01" * 32)
    assert not verify_ed25519(bytes(key.verify_key), b"any", point + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(("key", "signature"), [(b"", b""), (b"\x02" * 31, b"\x00" * 64), (b"\x02" * 32, b"\x00" * 63)])
def test_wrong_lengths_are_refused(key, signature):
    assert not verify_ed25519(key, b"", signature)
