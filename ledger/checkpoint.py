"""Checkpoints: the text that a log signs (C2SP tlog-checkpoint v1.0.0).

Three lines (origin, size, base64 root) and optional extension lines, each ending in a newline. A
`Checkpoint` that exists is valid: the constructor checks what the parser checks, so
`Checkpoint.parse(text).format() == text` for every text that parses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from ledger.errors import NoteError
from ledger.wire import MAX_UINT64, format_base64, has_controls, parse_base64, parse_decimal

MAX_ORIGIN_BYTES: Final = 255
"""The ML-DSA cosignature form counts the origin in one byte, so no longer origin can be witnessed."""
_HASH_SIZE: Final = 32
_MANDATORY_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, which root.

    Attributes:
        origin: the log's identity, 1 to 255 bytes of UTF-8; it may hold spaces (`go.sum database tree`).
        size: number of leaves, 0 to 2**64 - 1.
        root: 32-byte Merkle root at that size.
        extensions: opaque extra lines without their newlines. NOT RECOMMENDED by the specification;
            Tocsin never writes any.

    Raises:
        NoteError: on construction, when a field cannot be written in the format.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for number, line in enumerate((self.origin, *self.extensions), 1):
            what = "origin" if number == 1 else f"extension line {number - 1}"
            if not line or "\n" in line or has_controls(line):
                raise NoteError(f"The checkpoint's {what} is empty or holds a control character.")
            try:
                line.encode()
            except UnicodeEncodeError:
                raise NoteError(f"The checkpoint's {what} is not valid Unicode.") from None
        if len(self.origin.encode()) > MAX_ORIGIN_BYTES:
            raise NoteError(f"The checkpoint's origin is longer than {MAX_ORIGIN_BYTES} bytes; shorten it.")
        if not 0 <= self.size <= MAX_UINT64:
            raise NoteError("The checkpoint's size is not between 0 and 2^64 - 1.")
        if len(self.root) != _HASH_SIZE:
            raise NoteError(f"The checkpoint's root hash is {len(self.root)} bytes long instead of 32.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a note text as a checkpoint, strictly.

        Raises:
            NoteError: naming the line that is wrong.
        """
        # "The note text is a sequence of at least three non-empty lines, separated by newlines";
        # the note format adds that a text ends in a newline. splitlines() would split at U+2028 too.
        lines = text.split("\n")
        if lines.pop() != "" or len(lines) < _MANDATORY_LINES:
            raise NoteError("A checkpoint has at least three lines, each ending in a newline; this one has not.")
        # Line 2 is "the ASCII decimal representation of the number of leaves", "with no leading zeroes".
        size = parse_decimal(lines[1])
        if size is None:
            raise NoteError("Line 2 of the checkpoint is not a tree size: a decimal without leading zeros.")
        root = parse_base64(lines[2])
        if root is None:
            raise NoteError("Line 3 of the checkpoint is not a root hash in canonical base64.")
        return cls(lines[0], size, root, tuple(lines[3:]))

    def format(self) -> str:
        """Write the note text, ending in a newline; this is what a log signs."""
        lines = (self.origin, str(self.size), format_base64(self.root), *self.extensions)
        return "".join(line + "\n" for line in lines)
