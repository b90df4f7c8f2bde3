"""Make the door that all writers of hammering.py open.

hammering_door.py DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

from dying import report
from hammering import Door

from ledger import Ledger
from ledger.application import LedgerApplication

if __name__ == "__main__":
    with Ledger.open(Path(sys.argv[1])) as ledger:
        LedgerApplication(ledger).save(Door(room="contested"))
        report(size=ledger.size())
