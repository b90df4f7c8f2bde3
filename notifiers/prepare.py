"""From a claimed step and a contact card to a message that can be handed over. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from notifiers.adapters import Outgoing
from notifiers.compile import EmailPlan, Envelope, TextPlan, compile_email, compile_text, sms_segments
from notifiers.contacts import Address, ContactCard
from notifiers.errors import AddressError, MessageError, SlotError
from notifiers.identity import step_id
from notifiers.messages import Message, Sender, choose, mark_exercise
from notifiers.outbox import Claimed
from notifiers.plan import ERASED, catalogue

EXCLUDED: Final = "excluded"


@dataclass(frozen=True)
class Prepared:
    """A message ready to go, with what its receipt will say."""

    outgoing: Outgoing
    message: Message


@dataclass(frozen=True)
class Refused:
    """A step that cannot be sent, and why; `kind` as in `Outcome`, or `EXCLUDED`."""

    kind: str
    reason: str
    message: Message
    address: Address | None


class Composer:
    """Everything compiled for one campaign.

    Args:
        campaign: its name.
        key: its key.
        mode: "live" or "drill"; drill texts are marked, hashes stay those of the approved texts.
        sender: the organisation.
        opened: when the campaign was opened.
        messages: the approved texts.

    Raises:
        MessageError: a text cannot be compiled.
    """

    def __init__(
        self,
        campaign: str,
        *,
        key: bytes,
        mode: str,
        sender: Sender,
        opened: datetime,
        messages: Sequence[Message],
    ) -> None:
        self._campaign = campaign
        self._key = key
        self._opened = opened
        self._catalogue = catalogue(messages)
        self._plans: dict[str, EmailPlan | TextPlan] = {}
        for message in messages:
            shown = mark_exercise(message) if mode == "drill" else message
            self._plans[message.content_hash] = (
                compile_email(shown, sender, campaign=campaign, mode=mode)
                if message.channel == "email"
                else compile_text(shown)
            )

    def message_for(self, step: Claimed) -> Message:
        """The text this step's addressee gets.

        Raises:
            MessageError: the campaign has none; its rows were altered.
        """
        available = self._catalogue.get((step.channel, step.audience))
        if not available:
            raise MessageError(f"The campaign has no {step.channel} message for audience {step.audience}.")
        return choose(available, step.language)

    def prepare(self, step: Claimed, cards: Mapping[str, ContactCard]) -> Prepared | Refused:
        """Fill in what is particular to one addressee.

        Args:
            step: the claimed step.
            cards: contact cards of addressees, and of the children that guardians are told about.
        """
        message = self.message_for(step)
        card = cards.get(step.addressee)
        concerned = cards.get(step.person)
        if card is None or concerned is None:
            return Refused(EXCLUDED, ERASED, message, None)
        addresses = card.addresses.get(step.channel, ())
        if step.step >= len(addresses):
            return Refused("address", "address_gone", message, None)
        address = addresses[step.step]
        slots = {"child": concerned.name, "name": card.name, "reference": step.reference}
        try:
            return Prepared(self._splice(step, message, address, slots), message)
        except AddressError as error:
            return Refused("address", error.reason, message, address)
        except SlotError:
            return Refused("address", "slot_value_refused", message, address)

    def _splice(self, step: Claimed, message: Message, address: Address, slots: Mapping[str, str]) -> Outgoing:
        plan = self._plans[message.content_hash]
        name = step_id(
            self._key,
            person=step.person,
            addressee=step.addressee,
            channel=step.channel,
            step=step.step,
            notice=message.content_hash,
        )
        units = 1
        if isinstance(plan, EmailPlan):
            if not isinstance(address, str):
                raise AddressError("An email address is one line of text.", reason="bad_address")
            subject = ""
            content = plan.splice(Envelope(name, address, self._opened), slots)
        else:
            subject, text = plan.splice(slots)
            content = text.encode()
            if step.channel == "sms":
                units = sms_segments(text)
        return Outgoing(
            id=name,
            address=address,
            content=content,
            subject=subject,
            language=message.language,
            reference=step.reference,
            campaign=self._campaign,
            date=self._opened,
            units=units,
        )
