"""Who acts: responders, counsel, approvers.

One person may be written `Ana.Ruiz`, ` ana.ruiz ` or in full-width letters; the four-eyes rule must see the
same person. Identities are normalised before the vault gives them a pseudonym, and compared normalised
wherever two are compared, so that neither layer depends on the other.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from ledger.errors import InputError

MAX_LENGTH: Final = 200

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Letters and marks that show nothing: fillers, the grapheme joiner, variation selectors."""


def normalise(who: str) -> str:
    """The identity without what the eye does not see: case, width, spaces, invisible characters.

    Raises:
        InputError: nothing is left, or the text is longer than `MAX_LENGTH`.
    """
    plain, before = who, None
    while plain != before:  # folding can undo composing and the reverse, so both run until nothing changes
        before = plain
        folded = unicodedata.normalize("NFKC", plain).casefold()
        plain = "".join(char for char in folded if _shows(char))
    if not plain:
        raise InputError("Say who acts: a name or an account is needed (--as WHO).", field="as")
    if len(who) > MAX_LENGTH:
        raise InputError(f"The name of who acts is longer than {MAX_LENGTH} characters.", field="as")
    return plain


def _shows(char: str) -> bool:
    return not char.isspace() and char not in _BLANK and unicodedata.category(char) not in {"Cf", "Cc"}


def same_person(one: str, other: str) -> bool:
    """True when two identities are the same person however they are typed."""
    return normalise(one) == normalise(other)
