"""A program that appends to a ledger and prints the index of each receipt, for tests that kill it.

python writing.py DIRECTORY NAME COUNT
"""

from __future__ import annotations

import sys
from pathlib import Path

from ledger import Ledger


def main() -> None:
    directory, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with Ledger.open(directory) as ledger:
        for number in range(count):
            [receipt] = ledger.append(
                [
                    {
                        "specversion": "1.0",
                        "id": f"{name}-{number}",
                        "source": f"/{name}",
                        "type": "com.clinic.data.view.v1",
                        "time": "2026-03-10T08:59:59Z",
                        "data": {
                            "actor": {"id": "dr-grey", "kind": "human"},
                            "outcome": "success",
                            "resource": {"id": f"record/{number}", "type": "record"},
                            "subjects": [{"id": f"patient-{number}"}],
                        },
                    }
                ]
            )
            sys.stdout.write(f"{receipt.index}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
