"""A dispatcher killed without warning, in the middle, again and again; then run to the end."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from ledger import Ledger
from notifiers.adapters.smtp import SmtpAdapter
from notifiers.messages import Message, Recipient, Sender
from notifiers.service import Dispatcher

PEOPLE = 3000
SENDER = Sender("Example", "notices@example.org")
TEXT = Message("email", "en", "person", "Notice [[reference]]", "Dear [[name]], something happened.")

CHILD = """
import sys
from pathlib import Path
from ledger import Ledger
from notifiers.adapters.smtp import SmtpAdapter
from notifiers.service import Dispatcher

with Ledger.open(Path(sys.argv[1])) as ledger:
    relay = SmtpAdapter("127.0.0.1", int(sys.argv[2]), "bounces@example.org", tls="none")
    Dispatcher(ledger, [relay]).run("c1")
"""


def prepare(directory: Path) -> dict[str, str]:
    with Ledger.create(directory, origin="test.example/log") as ledger:
        refs = {}
        with ledger.database.write() as connection:
            for number in range(PEOPLE):
                name = f"p{number}@example.net"
                profile = {"name": f"Person {number}", "contacts": {"email": [name]}}
                refs[name] = ledger.vault.refer(connection, "subject", name, profile)
        Dispatcher(ledger).open_campaign(
            "c1",
            incident="inc-1",
            messages=[TEXT],
            recipients=[Recipient(ref, ref, "person", "en", ("email",), name[:-12]) for name, ref in refs.items()],
            sender=SENDER,
        )
    return refs


def test_killed_three_times_nobody_is_lost_and_every_second_copy_is_marked(tmp_path, mailbox):
    refs = prepare(tmp_path)
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(mailbox.port)]
    for kills in range(3):
        mailbox.seen.clear()
        mailbox.until = len(mailbox.messages) + 400 + 37 * kills
        child = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert mailbox.seen.wait(60), child.stderr.read()
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    mailbox.until = 0

    with Ledger.open(tmp_path) as ledger:
        dispatcher = Dispatcher(ledger, [SmtpAdapter("127.0.0.1", mailbox.port, "bounces@example.org", tls="none")])
        before = dispatcher.balance("c1")
        assert before.queued
        assert before.queued + before.handed_over == PEOPLE
        report = dispatcher.run("c1")
        assert report.balance.handed_over == PEOPLE
        dispatcher.finish("c1")

        counts = mailbox.counts()
        assert set(counts) == set(refs)
        twice = {address for address, count in counts.items() if count > 1}
        assert twice, "the kills hit nothing in flight; the test has lost its point"
        with ledger.database.read() as connection:
            leaves = connection.execute(
                "SELECT s.person, a.leaf FROM outbox_attempt a JOIN outbox_step s ON s.id = a.step"
            ).fetchall()
        marked = {row["person"] for row in leaves if json.loads(row["leaf"])["possibly_repeated"]}
        assert {refs[address] for address in twice} <= marked
        assert report.balance.possibly_repeated == len(marked)
        # Both copies carry the same Message-ID, so that a mailbox can fold them into one.
        sample = next(iter(twice))
        ids = {
            line
            for address, raw in mailbox.messages
            if address == sample
            for line in raw.splitlines()
            if line.lower().startswith(b"message-id:")
        }
        assert len(ids) == 1
        # The log and the outbox tell the same story.
        recorded = [
            json.loads(stored.payload)["data"]
            for stored in ledger.entries()
            if json.loads(stored.entry)["type"] == "org.tocsin.dispatch.recorded.v1"
        ]
        assert sum(data["count"] for data in recorded) == len(leaves)
        assert sum(data["outcomes"].get("handed_over", 0) for data in recorded) == PEOPLE
