"""Who is told how: recipients and what can reach them in, tellings and first steps out. Pure.

A ladder of channels becomes *rungs*: a rung is the addresses tried at the same time. All email addresses
of a person form one rung (each costs nothing and any may be the one that is read); every other address is
a rung of its own, so that one letter is printed, not three. The next rung is taken only when every
address of the rung before it has proved dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from notifiers.balance import DEAD_STEPS, Step
from notifiers.errors import PlanError
from notifiers.messages import CHANNELS, Message, Recipient, choose

Rung = tuple[tuple[str, int], ...]
"""(channel, position of the address on the contact card) pairs that are tried together."""

NO_CONTACT: Final = "no_contact_details"
ERASED: Final = "erased"
THROUGH_GUARDIAN: Final = "through_guardian"
TOGETHER: Final = frozenset({"email"})
"""Channels whose addresses are all used at once."""

Catalogue = Mapping[tuple[str, str], Mapping[str, Message]]
"""(channel, audience) -> language -> message."""


@dataclass(frozen=True)
class Telling:
    """One telling with the way it will take.

    Attributes:
        recipient: who is owed what.
        rungs: in the order they are tried; empty when nothing can reach the addressee.
        reason: why it is excluded; "" when it is not.
    """

    recipient: Recipient
    rungs: tuple[Rung, ...]
    reason: str = ""


@dataclass(frozen=True)
class Excluded:
    """A telling that cannot be made, by ref: somebody has to find another way."""

    person: str
    addressee: str
    reason: str


@dataclass(frozen=True)
class Preflight:
    """What a campaign will do, to be read before it is let go.

    Attributes:
        campaign: its name.
        owed: tellings planned.
        by_channel: channel -> tellings whose first rung is on it.
        languages: channel -> language of the text -> tellings of the first rung.
        substituted: tellings whose addressee gets another language than the one asked for.
        excluded: tellings that cannot be made, each named.
        hours: channel -> hours the first rung takes at the granted rate; absent where no rate is set.
    """

    campaign: str
    owed: int
    by_channel: Mapping[str, int]
    languages: Mapping[str, Mapping[str, int]]
    substituted: int
    excluded: tuple[Excluded, ...]
    hours: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """JSON values; hours become whole seconds, since no float belongs under a hash."""
        return {
            "by_channel": dict(self.by_channel),
            "campaign": self.campaign,
            "excluded": [
                {"addressee": each.addressee, "person": each.person, "reason": each.reason} for each in self.excluded
            ],
            "languages": {channel: dict(counts) for channel, counts in self.languages.items()},
            "owed": self.owed,
            "seconds": {channel: round(hours * 3600) for channel, hours in self.hours.items()},
            "substituted": self.substituted,
        }


def catalogue(messages: Iterable[Message]) -> dict[tuple[str, str], dict[str, Message]]:
    """Order messages by channel and audience.

    Raises:
        MessageError: a message is malformed.
        PlanError: two different messages for the same channel, audience and language.
    """
    table: dict[tuple[str, str], dict[str, Message]] = {}
    for message in messages:
        message.check()
        languages = table.setdefault((message.channel, message.audience), {})
        tag = message.language.lower()
        if tag in languages and languages[tag] != message:
            raise PlanError(
                f"There are two different messages for {message.channel}/{message.audience}/{message.language}; "
                "keep the approved one."
            )
        languages[tag] = message
    return table


def rungs_of(ladder: Sequence[str], reach: Mapping[str, int]) -> tuple[Rung, ...]:
    """The rungs of one addressee.

    Args:
        ladder: channels in order.
        reach: channel -> how many addresses the addressee has there.
    """
    rungs: list[Rung] = []
    for channel in dict.fromkeys(ladder):
        count = reach.get(channel, 0)
        if channel in TOGETHER and count:
            rungs.append(tuple((channel, position) for position in range(count)))
        else:
            rungs.extend(((channel, position),) for position in range(count))
    return tuple(rungs)


def plan(
    recipients: Iterable[Recipient],
    reach: Mapping[str, Mapping[str, int]],
    messages: Catalogue,
) -> list[Telling]:
    """Decide how each telling is made.

    A child is told itself only where the directory holds a contact of the child; otherwise its own telling
    is excluded with reason "through_guardian", where a guardian can be reached, and never dropped.

    Args:
        recipients: what is owed.
        reach: addressee -> channel -> number of addresses; addressees that are missing were erased.
        messages: the texts, see `catalogue`.

    Raises:
        PlanError: the same telling twice with different content, an unknown channel, or a rung that no
            message can travel on.
    """
    tellings: dict[tuple[str, str], Telling] = {}
    for recipient in recipients:
        key = (recipient.person, recipient.addressee)
        if key in tellings:
            if tellings[key].recipient != recipient:
                raise PlanError(
                    f"{recipient.person} is to be told through {recipient.addressee} twice with different "
                    "audience, language, ladder or reference; keep one."
                )
            continue
        tellings[key] = _tell(recipient, reach.get(recipient.addressee), messages)
    guarded = {
        each.recipient.person for each in tellings.values() if each.recipient.audience == "guardian" and each.rungs
    }
    return [
        replace(each, reason=THROUGH_GUARDIAN)
        if each.reason == NO_CONTACT and each.recipient.audience == "child" and each.recipient.person in guarded
        else each
        for each in tellings.values()
    ]


def _tell(recipient: Recipient, reach: Mapping[str, int] | None, messages: Catalogue) -> Telling:
    for channel in recipient.ladder:
        if channel not in CHANNELS or channel == "public":
            raise PlanError("A ladder names something that is not a personal channel.", field="/ladder")
    if reach is None:
        return Telling(recipient, (), ERASED)
    rungs = rungs_of(recipient.ladder, reach)
    for rung in rungs:
        for name, _ in rung:
            if not messages.get((name, recipient.audience)):
                raise PlanError(
                    f"There is no {name} message for audience {recipient.audience}, but the ladder may lead "
                    "there; write one or take the channel out of the ladder."
                )
    return Telling(recipient, rungs, "" if rungs else NO_CONTACT)


def next_rung(rungs: Sequence[Rung], steps: Iterable[Step]) -> Rung:
    """The rung to add now, or () when there is none or the ones before are not all dead.

    Args:
        rungs: all rungs of the telling.
        steps: the steps made from them so far.
    """
    states = {(step.channel, step.step): step.state for step in steps}
    for rung in rungs:
        made = [states.get(pair) for pair in rung]
        if all(state is None for state in made):
            return rung
        if any(state not in DEAD_STEPS for state in made):
            return ()
        if "expired" in made:
            return ()  # the time for telling is over on every channel
    return ()


def summarise(
    campaign: str,
    tellings: Iterable[Telling],
    messages: Catalogue,
    rates: Mapping[str, float | None],
) -> Preflight:
    """Count what will happen: people x channel / granted rate = hours.

    Args:
        campaign: its name.
        tellings: as planned.
        messages: the texts.
        rates: channel -> messages per second the provider grants.
    """
    by_channel: dict[str, int] = {}
    sends: dict[str, int] = {}
    languages: dict[str, dict[str, int]] = {}
    excluded: list[Excluded] = []
    owed = substituted = 0
    for telling in tellings:
        owed += 1
        recipient = telling.recipient
        if not telling.rungs:
            excluded.append(Excluded(recipient.person, recipient.addressee, telling.reason))
            continue
        channel = telling.rungs[0][0][0]
        by_channel[channel] = by_channel.get(channel, 0) + 1
        sends[channel] = sends.get(channel, 0) + len(telling.rungs[0])
        language = choose(messages[channel, recipient.audience], recipient.language).language
        row = languages.setdefault(channel, {})
        row[language] = row.get(language, 0) + 1
        if language.split("-")[0].lower() != recipient.language.split("-")[0].lower():
            substituted += 1
    hours = {}
    for channel, count in sends.items():
        rate = rates.get(channel)
        if rate:
            hours[channel] = count / rate / 3600
    return Preflight(campaign, owed, by_channel, languages, substituted, tuple(excluded), hours)
