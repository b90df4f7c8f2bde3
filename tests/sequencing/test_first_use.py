"""Events validated by several threads of a process that has validated none before."""

import subprocess
import sys

PROGRAM = """
import sys, threading
sys.setswitchinterval(1e-6)
from ledger.admission import read_events
event = {
    "specversion": "1.0", "id": "a", "source": "/s", "type": "org.example.data.view.v1",
    "data": {"actor": {"id": "a"}, "outcome": "success", "resource": {"id": "r"}, "subjects": [{"id": "c"}]},
}
start = threading.Barrier(4)
def work():
    start.wait()
    read_events([event])
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_the_first_events_of_a_process_may_come_in_several_threads_at_once():
    # A crash of compiled code that is initialised twice at once shows in about one process of three.
    for _ in range(8):
        assert subprocess.run([sys.executable, "-c", PROGRAM], check=False, timeout=120).returncode == 0
