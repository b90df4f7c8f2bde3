"""A sequencer that stops itself (SIGSTOP) at a named point; run by test_fencing.py, never imported.

    pausing.py DIRECTORY SOCKET POINT

`inside` stops inside the write transaction of its second commit, `before` just before it begins, with the cached
edge of the tree that the first one left. Its lock is the worst there is: it always says that it leads, as a
session would that the server has dropped without the holder's knowing.
"""

import asyncio
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from ledger import Ledger
from ledger.sequencing.local import listening
from ledger.sequencing.server import Server


def main() -> None:
    directory, path, point = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    commits = 0

    def stop() -> None:
        if commits == 2:
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.3)  # the other threads stop first, this one must get no further meanwhile

    def clock() -> datetime:  # asked for the time of acceptance inside the transaction
        if point == "inside":
            stop()
        return datetime.now(UTC)

    def before() -> None:  # asked once for each commit
        nonlocal commits
        commits += 1
        if point == "before":
            stop()

    async def serve() -> None:
        with listening(path) as listener:
            sys.stdout.write("listening\n")
            sys.stdout.flush()
            await Server(ledger, listener).run(asyncio.Event())

    with Ledger.open(directory, clock=clock) as ledger:
        ledger.before_append = before
        asyncio.run(serve())


main()
