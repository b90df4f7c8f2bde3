"""Campaigns in a restored copy start paused: it may not know what was already sent."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from ledger import Ledger
from ledger.config import read_config, write_config
from ledger.recovery.backup import Backup, take_backup
from ledger.recovery.errors import UnconfirmedCopyError
from ledger.recovery.restoring import confirm_with_loss, restore
from notifiers.errors import CampaignStateError
from notifiers.messages import Message, Recipient, Sender
from notifiers.service import Dispatcher

SENDER = Sender(
    name="Clinic",
    email="notices@example.org",
    reply_to="help@example.org",
    phone="+34 900 000 000",
    website="example.org",
    postal=("Street 1", "28001 Madrid"),
    sms="Clinic",
)


def open_campaign(ledger):
    with ledger.database.write() as connection:
        ref = ledger.vault.refer(connection, "subject", "cust-1", {"name": "A", "contacts": {"email": ["a@b.example"]}})
    text = Message("email", "en", "person", "About your data", "Dear [[name]], reference [[reference]].", None)
    person = Recipient(ref, ref, "person", "en", ("email",), "R-1")
    Dispatcher(ledger).open_campaign(
        "c1", incident="i1", sender=SENDER, messages=[text], recipients=[person], mode="live"
    )


def test_a_campaign_is_paused_in_a_restored_copy_even_at_the_old_place(ledger, data, tmp_path, clock):
    open_campaign(ledger)
    take_backup(ledger, tmp_path / "b.tocsin")
    keys = tmp_path / "keys"
    shutil.copytree(data / "keys", keys)
    ledger.close()
    shutil.rmtree(data)
    restore(Backup.open(tmp_path / "b.tocsin"), data)
    shutil.copytree(keys, data / "keys")
    with Ledger.open(data, clock=clock) as copy:
        # Nothing can even be tried before the copy is confirmed.
        with pytest.raises(UnconfirmedCopyError):
            Dispatcher(copy).run("c1")
        confirm_with_loss(copy, "the disk was lost")
        with pytest.raises(CampaignStateError, match="restored from a backup"):
            Dispatcher(copy).run("c1")
        status = Dispatcher(copy).status("c1")
        assert (status.state, status.balance.queued) == ("paused", 1)


def test_the_name_of_the_restoration_alone_pauses_a_campaign(ledger, data, clock):
    """Same path, same inode: only the configuration says that this is another copy."""
    open_campaign(ledger)
    ledger.close()
    write_config(data, replace(read_config(data), instance="00" * 16))
    with (
        Ledger.open(data, clock=clock) as copy,
        pytest.raises(CampaignStateError, match="restored from a backup"),
    ):
        Dispatcher(copy).run("c1")
