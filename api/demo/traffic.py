"""Two weeks of an invented company at work in its cloud, and an intrusion in the middle."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from api.demo import estate
from api.demo.estate import ACCOUNT, BUCKETS, PROXY, REGION, ROLES, STAFF, Role, arn
from api.demo.records import Call, Principal, Record, Recorder, hash_of, list_call, object_call

DAYS: Final = 14
BREAK_IN: Final = 7 * 86400 + 3 * 3600 + 1537
"""Seconds after the beginning of the period: the eighth night."""

INTRUDER: Final = "203.0.113.77"
INTRUDER_AGENT: Final = "[aws-cli/2.15.0 Python/3.11.6 Linux/6.1.0 exe/x86_64]"

# Share of a principal's calls by hour of the day (UTC).
_DAY: Final = (2, 1, 1, 1, 2, 4, 9, 20, 40, 60, 62, 58, 45, 48, 60, 62, 55, 40, 28, 22, 18, 12, 7, 4)
_OFFICE: Final = (0, 0, 0, 0, 0, 1, 6, 30, 70, 90, 90, 70, 40, 60, 85, 80, 50, 20, 6, 3, 2, 1, 0, 0)
_NIGHT: Final = (2, 60, 90, 60, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2)
_SATURDAY: Final = 5
_WEEKEND: Final = 35  # per cent of a working day

# What machines and staff do, with weights.
_MACHINE: Final = {"get": 590, "put": 180, "list": 60, "decrypt": 60, "metric": 60, "role": 40, "miss": 5}
_STAFF: Final = {"describe": 55, "alarms": 15, "list": 13, "get": 8, "denied": 4, "login": 4, "mistyped": 1}
_DESCRIBE: Final = ("DescribeInstances", "DescribeVolumes", "DescribeTags", "DescribeAddresses")
_SERVER_BUCKETS: Final = (estate.LOGS, estate.DEPLOYS, estate.ANALYTICS)

_STEPS: Final = (
    (0, "", "", ""),
    (41, estate.MEMBERS, "", ""),
    (77, estate.LOGS, "", "AccessDenied"),
    (95, "", "", ""),
    (163, estate.INVOICES, estate.REFUSED, "AccessDenied"),
    (171, estate.INVOICES, estate.REFUSED, "AccessDenied"),
    (218, estate.MEMBERS, estate.STOLEN, ""),
    (1104, estate.MEMBERS, "", ""),
    (1131, estate.LOGS, "", "AccessDenied"),
    (1150, estate.INVOICES, estate.REFUSED, "AccessDenied"),
    (1208, estate.MEMBERS, estate.STOLEN, ""),
)
"""The intruder's calls: (seconds after the first, bucket, key, error); no key is a listing, no bucket lists all."""


@dataclass(frozen=True)
class Intrusion:
    """What the intruder did: the answer the responders of the demo have to find.

    Attributes:
        address: where the calls came from.
        principal: ARN of the role session whose credentials were given away.
        credential: their access key id; the session's own machine used it too, from inside.
        bucket, stolen, refused: ARNs of the listed bucket, the object that was read, one that was denied.
        first, last: RFC 3339 times of the first and last call.
        calls: number of calls.
    """

    address: str
    principal: str
    credential: str
    bucket: str
    stolen: str
    refused: str
    first: str
    last: str
    calls: int


def make_principals(rng: random.Random) -> tuple[Principal, ...]:
    """More than eighty principals: each role's machines, and staff with invented account names."""
    machines = [
        Principal(
            name=f"i-{rng.getrandbits(68):017x}",
            role=role,
            weight=max(1, role.weight * 10 // role.instances),
            address=f"10.{20 + place}.{number}.{rng.randint(10, 250)}",
            agent=f"[Boto3/1.40.{place} md/Botocore#1.40.{place} exec-env/EC2 {role.name}]",
        )
        for place, role in enumerate(ROLES)
        for number in range(role.instances)
    ]
    staff = []
    for n in range(1, STAFF + 1):
        office, home = f"198.51.100.{rng.randint(2, 30)}", f"192.0.2.{rng.randint(2, 250)}"
        staff.append(
            Principal(
                name=f"{rng.choice('bdfgklmnprstvz')}{rng.choice('aeiou')}{rng.choice('lmnrs')}{rng.choice('aeio')}-{n:02d}",
                role=None,
                weight=rng.randint(10, 60),
                address=rng.choice((office, office, home)),
                agent=rng.choice(("console.amazonaws.com", "[aws-cli/2.15.0 Python/3.11.6]")),
            )
        )
    return (*machines, *staff)


class Traffic:
    """The generator of records; everything follows from the random source and the end of the period.

    Args:
        rng: source of everything that varies.
        until: aware UTC instant at which the period ends; it begins `DAYS` before.
    """

    def __init__(self, rng: random.Random, until: datetime) -> None:
        self._rng = rng
        self._start = until - timedelta(days=DAYS)
        self._recorder = Recorder(rng, self._start)
        self.principals = make_principals(rng)
        self._proxy = next(principal for principal in self.principals if principal.role is PROXY)

    def records(self, ordinary: int) -> Iterator[Record]:
        """`ordinary` everyday records and the intrusion among them, in order of time."""
        steps = list(_STEPS)
        for second, principal in self._schedule(ordinary):
            while steps and BREAK_IN + steps[0][0] <= second:
                yield self._step(*steps.pop(0))
            yield self._everyday(second, principal)
        for step in steps:
            yield self._step(*step)

    def intrusion(self) -> Intrusion:
        """The facts of the intrusion."""
        return Intrusion(
            address=INTRUDER,
            principal=self._proxy.arn,
            credential=self._recorder.key(self._proxy, BREAK_IN),
            bucket=arn(estate.MEMBERS),
            stolen=arn(estate.MEMBERS, estate.STOLEN),
            refused=arn(estate.INVOICES, estate.REFUSED),
            first=self._recorder.time(BREAK_IN),
            last=self._recorder.time(BREAK_IN + _STEPS[-1][0]),
            calls=len(_STEPS),
        )

    def _step(self, offset: int, bucket: str, key: str, error: str) -> Record:
        """With the proxy's credentials, from outside."""
        how = {"error": error, "address": INTRUDER, "agent": INTRUDER_AGENT}
        second = BREAK_IN + offset
        if key:
            return self._recorder.record(object_call(second, self._proxy, "GetObject", bucket, key, **how))
        return self._recorder.record(list_call(second, self._proxy, bucket, **how))

    def _schedule(self, count: int) -> list[tuple[int, Principal]]:
        """When who calls: office hours and weekends for staff, nights for batch jobs."""
        rng = self._rng
        callers = rng.choices(self.principals, [p.weight for p in self.principals], k=count)
        weekdays = [(self._start + timedelta(days=day)).weekday() for day in range(DAYS)]
        work_days = rng.choices(range(DAYS), [_WEEKEND if day >= _SATURDAY else 100 for day in weekdays], k=count)
        slots = []
        for place, caller in enumerate(callers):
            if caller.role is None:
                day, shape = work_days[place], _OFFICE
            else:
                day, shape = rng.randrange(DAYS), _NIGHT if caller.role.night else _DAY
            hour = rng.choices(range(24), shape)[0]
            slots.append((day * 86400 + hour * 3600 + rng.randrange(3600), place, caller))
        slots.sort(key=lambda slot: slot[:2])
        return [(second, caller) for second, _, caller in slots]

    def _everyday(self, second: int, principal: Principal) -> Record:
        rng, role = self._rng, principal.role
        if role is not None:
            return self._machine(rng.choices(tuple(_MACHINE), tuple(_MACHINE.values()))[0], second, principal, role)
        what = rng.choices(tuple(_STAFF), tuple(_STAFF.values()))[0]
        if what in {"login", "mistyped"}:
            return self._recorder.login(second, principal, good=what == "login")
        return self._recorder.record(self._staff_call(what, second, principal))

    def _machine(self, what: str, second: int, principal: Principal, role: Role) -> Record:
        rng = self._rng
        if what == "role":
            return self._recorder.assumed_role(second, principal, role)
        if what == "metric":
            call = Call(second, principal, "monitoring", "PutMetricData", {"namespace": f"Lumbrera/{role.name}"})
        elif what == "decrypt":
            call = _decrypt(second, principal, role)
        elif role.writes and (what == "put" or not role.reads):
            bucket = rng.choice(role.writes)
            call = object_call(second, principal, "PutObject", bucket, rng.choice(BUCKETS[bucket]))
        elif what == "list":
            call = list_call(second, principal, rng.choice(role.reads))
        else:
            bucket = rng.choice(role.reads)
            error = "NoSuchKey" if what == "miss" else ""
            call = object_call(second, principal, "GetObject", bucket, rng.choice(BUCKETS[bucket]), error=error)
        return self._recorder.record(call)

    def _staff_call(self, what: str, second: int, principal: Principal) -> Call:
        rng = self._rng
        if what == "describe":
            return Call(second, principal, "ec2", rng.choice(_DESCRIBE), {"filterSet": {}, "maxResults": 100})
        if what == "alarms":
            return Call(second, principal, "monitoring", "DescribeAlarms", {"maxRecords": 100})
        if what == "list":
            return list_call(second, principal, rng.choice(_SERVER_BUCKETS))
        bucket = estate.INVOICES if what == "denied" else rng.choice((estate.LOGS, estate.DEPLOYS, estate.SUPPORT))
        error = "AccessDenied" if what == "denied" else ""
        return object_call(second, principal, "GetObject", bucket, rng.choice(BUCKETS[bucket]), error=error)


def _decrypt(second: int, principal: Principal, role: Role) -> Call:
    key = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-{hash_of(role.name):012d}"
    listed = [{"ARN": key, "accountId": ACCOUNT, "type": "AWS::KMS::Key"}]
    return Call(second, principal, "kms", "Decrypt", {"encryptionAlgorithm": "SYMMETRIC_DEFAULT"}, listed)
