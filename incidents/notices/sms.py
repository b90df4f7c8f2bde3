"""Length of text messages: 3GPP TS 23.038 alphabet, 160 or 153 septets, else 70 or 67 UTF-16 units."""

from __future__ import annotations

from typing import Final

_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED: Final = frozenset("\f^{}\\[~]|€")


def is_gsm(text: str) -> bool:
    """Whether the text fits the GSM 7-bit alphabet with its extension table."""
    return all(char in _BASIC or char in _EXTENDED for char in text)


def segments(text: str) -> int:
    """How many segments a text message takes; 0 for an empty one.

    A pair (escape and character, or two surrogates) is never divided between segments.
    """
    if not text:
        return 0
    if is_gsm(text):
        costs = [2 if char in _EXTENDED else 1 for char in text]
        single, multi = 160, 153
    else:
        costs = [2 if ord(char) > 0xFFFF else 1 for char in text]  # noqa: PLR2004 - end of the basic plane
        single, multi = 70, 67
    if sum(costs) <= single:
        return 1
    count, room = 1, multi
    for cost in costs:
        if cost > room:
            count, room = count + 1, multi
        room -= cost
    return count
