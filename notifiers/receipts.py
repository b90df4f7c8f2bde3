"""Proof of dispatch: what was handed to whom, when, and what the provider answered.

Every attempt leaves a *leaf*: canonical JSON with a random salt. The leaves of one flush form an RFC 9162
tree whose root stands in a log entry of type `org.tocsin.dispatch.recorded.v1`. A receipt is the leaf,
its path to that root, and the entry; so one person's receipt can be shown without showing anybody else's.

It proves *dispatch*, never reading.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger import Ledger
from ledger.encoding import canonical, parse, parse_strict
from ledger.errors import InputError, ProofError
from ledger.merkle import inclusion_proof, leaf_hash, root_hash, verify_inclusion
from notifiers import outbox
from notifiers.errors import ReceiptError

RECORDED: Final = "org.tocsin.dispatch.recorded.v1"
SALT_SIZE: Final = 16


@dataclass(frozen=True)
class Receipt:
    """One attempt with its proof.

    Attributes:
        leaf: canonical JSON, exactly as hashed.
        position: place of the leaf in its block, from 0.
        size: leaves in the block.
        path: audit path, 32 bytes each.
        root: root of the block.
        entry_index: leaf index of the log entry that holds the root.
        entry: that log entry, exact bytes.
        payload: its payload, exact bytes.
        salt: the salt of its commitment.
        proof: tlog-proof text of the entry, b"" when it was not asked for.
    """

    leaf: bytes
    position: int
    size: int
    path: tuple[bytes, ...]
    root: bytes
    entry_index: int
    entry: bytes
    payload: bytes
    salt: bytes
    proof: bytes = b""

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of the leaf."""
        return dict(parse(self.leaf))

    def as_json(self) -> dict[str, Any]:
        """JSON values, bytes in hex except the JSON texts."""
        return {
            "entry": self.entry.decode(),
            "entry_index": self.entry_index,
            "leaf": self.leaf.decode(),
            "path": [node.hex() for node in self.path],
            "payload": self.payload.decode(),
            "position": self.position,
            "proof": self.proof.decode(),
            "root": self.root.hex(),
            "salt": self.salt.hex(),
            "size": self.size,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """The inverse of `as_json`.

        Raises:
            ReceiptError: a field is missing or malformed.
        """
        try:
            return cls(
                leaf=value["leaf"].encode(),
                position=int(value["position"]),
                size=int(value["size"]),
                path=tuple(bytes.fromhex(node) for node in value["path"]),
                root=bytes.fromhex(value["root"]),
                entry_index=int(value["entry_index"]),
                entry=value["entry"].encode(),
                payload=value["payload"].encode(),
                salt=bytes.fromhex(value["salt"]),
                proof=value["proof"].encode(),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ReceiptError("The receipt is malformed: a field is missing or not of its type.") from None


def block_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162 root over the leaves of one flush."""
    return root_hash([leaf_hash(leaf) for leaf in leaves])


def receipts_of(ledger: Ledger, campaign: str, person: str) -> tuple[Receipt, ...]:
    """The receipts of one person in one campaign, whoever was the addressee, oldest first.

    Raises:
        CampaignNotFoundError: no such campaign.
        ReceiptError: the outbox and the log do not agree; one of them was altered.
    """
    with ledger.database.read() as connection:
        outbox.load(connection, campaign)
        rows = connection.execute(
            "SELECT CAST(a.leaf AS BLOB) AS leaf, a.position, a.block, b.root, b.entry FROM outbox_attempt a"
            " JOIN outbox_block b ON b.id = a.block JOIN outbox_step s ON s.id = a.step"
            " WHERE s.campaign = ? AND s.person = ? ORDER BY a.id",
            (campaign, person),
        ).fetchall()
        blocks = {
            row["block"]: [
                leaf["leaf"]
                for leaf in connection.execute(
                    "SELECT CAST(leaf AS BLOB) AS leaf FROM outbox_attempt WHERE block = ? ORDER BY position",
                    (row["block"],),
                )
            ]
            for row in rows
        }
    receipts = []
    for row in rows:
        index = row["entry"]
        stored = ledger.entry(index)
        if stored.payload is None or stored.salt is None:
            raise ReceiptError(f"The payload of entry {index}, which holds this receipt's root, was erased.")
        hashes = [leaf_hash(leaf) for leaf in blocks[row["block"]]]
        receipt = Receipt(
            leaf=row["leaf"],
            position=row["position"],
            size=len(hashes),
            path=tuple(inclusion_proof(hashes, row["position"])),
            root=bytes.fromhex(row["root"]),
            entry_index=index,
            entry=stored.entry,
            payload=stored.payload,
            salt=stored.salt,
            proof=ledger.prove(index),
        )
        verify(receipt)
        receipts.append(receipt)
    return tuple(receipts)


def verify(receipt: Receipt) -> dict[str, Any]:
    """Check a receipt as far as its log entry; `ledger.proofs.verify_receipt` checks the entry itself.

    Returns:
        The facts of the leaf.

    Raises:
        ReceiptError: a step of the chain leaf -> root -> payload -> commitment does not hold.
    """
    try:
        facts = parse_strict(receipt.leaf)
        payload = parse_strict(receipt.payload)
        entry = parse_strict(receipt.entry)
        verify_inclusion(receipt.position, receipt.size, leaf_hash(receipt.leaf), list(receipt.path), receipt.root)
    except (InputError, ProofError) as error:
        raise ReceiptError(f"The receipt does not hold together: {error}") from error
    if not isinstance(facts, dict) or not isinstance(payload, dict) or not isinstance(entry, dict):
        raise ReceiptError("The receipt's leaf, payload or entry is not a JSON object.")
    data = payload.get("data")
    if entry.get("type") != RECORDED or not isinstance(data, dict):
        raise ReceiptError("The log entry is not one that records dispatches.")
    if data.get("root") != receipt.root.hex() or data.get("count") != receipt.size:
        raise ReceiptError("The log entry names another block than the one this leaf belongs to.")
    if data.get("campaign") != facts.get("campaign"):
        raise ReceiptError("The leaf belongs to another campaign than the log entry.")
    commitment = hashlib.sha256(b"tocsin/payload/v1" + receipt.salt + receipt.payload).hexdigest()
    if entry.get("commitment") != commitment:
        raise ReceiptError("The payload is not the one the log entry commits to.")
    return facts


def make_leaf(fields: Mapping[str, Any], salt: bytes) -> bytes:
    """The bytes of a leaf: the fields and a salt, canonical JSON."""
    return canonical({**fields, "salt": salt.hex()})
