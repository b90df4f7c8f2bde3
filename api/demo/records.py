"""The shape of a CloudTrail record, for calls by invented principals.

AWS's habits are kept, among them byte counts written with a fraction. Nothing is copied from a real log:
account and keys are placeholders, addresses come from ranges set aside for documentation (RFC 5737).
"""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from api.demo.estate import ACCOUNT, REGION, Role, arn

CREDENTIAL_HOURS: Final = 6
"""Instance credentials are replaced this often."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Principal:
    """Somebody or something that calls AWS: a machine with a role, or a member of staff (no role)."""

    name: str
    role: Role | None
    weight: int
    address: str
    agent: str

    @property
    def arn(self) -> str:
        """The ARN that CloudTrail records for it."""
        if self.role is None:
            return f"arn:aws:iam::{ACCOUNT}:user/{self.name}"
        return f"arn:aws:sts::{ACCOUNT}:assumed-role/{self.role.name}/{self.name}"


@dataclass(frozen=True)
class Call:
    """One API call before it is written down.

    Attributes:
        second: seconds after the beginning of the period.
        principal: whose credentials were used.
        service, name: `s3`, `GetObject`.
        parameters: of the request.
        resources: as CloudTrail lists them.
        error: AWS's error code, "" for success.
        address, agent: where it came from, if not from the principal's usual place.
    """

    second: int
    principal: Principal
    service: str
    name: str
    parameters: Record | None = None
    resources: Sequence[Record] = ()
    error: str = ""
    address: str = ""
    agent: str = ""


class Recorder:
    """Writes calls down as records.

    Args:
        rng: source of everything that varies.
        start: aware UTC instant at which the period begins.
    """

    def __init__(self, rng: random.Random, start: datetime) -> None:
        self._rng = rng
        self._start = start
        self._keys: dict[tuple[str, int], str] = {}

    def time(self, second: int) -> str:
        """An instant of the period as AWS writes it."""
        return f"{self._start + timedelta(seconds=second):%Y-%m-%dT%H:%M:%SZ}"

    def key(self, principal: Principal, second: int) -> str:
        """The access key id in use at that moment."""
        period = second // (CREDENTIAL_HOURS * 3600)
        known = self._keys.get((principal.name, period))
        if known is None:
            known = f"ASIAINVENTED{hash_of(f'{principal.name}/{period}'):09d}"
            self._keys[principal.name, period] = known
        return known

    def record(self, call: Call) -> Record:
        """One record."""
        record: Record = {
            "eventVersion": "1.09",
            "userIdentity": self._identity(call.principal, call.second),
            "eventTime": self.time(call.second),
            "eventSource": f"{call.service}.amazonaws.com",
            "eventName": call.name,
            "awsRegion": REGION,
            "sourceIPAddress": call.address or call.principal.address,
            "userAgent": call.agent or call.principal.agent,
            "requestParameters": call.parameters,
            "responseElements": None,
            "requestID": f"{self._rng.getrandbits(64):016X}",
            "eventID": uuid_text(self._rng),
            "readOnly": not call.name.startswith("Put"),
            "eventType": "AwsApiCall",
            "recipientAccountId": ACCOUNT,
        }
        if call.resources:
            record["resources"] = list(call.resources)
        if call.error:
            record["errorCode"] = call.error
            record["errorMessage"] = f"Invented message for {call.error}"
        if call.service == "s3":
            record |= self._transfer(call)
        return record

    def assumed_role(self, second: int, principal: Principal, role: Role) -> Record:
        """EC2 fetches fresh credentials for a machine."""
        target = f"arn:aws:iam::{ACCOUNT}:role/{role.name}"
        call = Call(
            second,
            principal,
            "sts",
            "AssumeRole",
            {"roleArn": target, "roleSessionName": principal.name},
            [{"ARN": target, "accountId": ACCOUNT, "type": "AWS::IAM::Role"}],
            address="ec2.amazonaws.com",
            agent="ec2.amazonaws.com",
        )
        return self.record(call) | {
            "userIdentity": {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
            "responseElements": {"credentials": {"accessKeyId": self.key(principal, second)}},
        }

    def login(self, second: int, principal: Principal, *, good: bool) -> Record:
        """Somebody signs in to the console."""
        return self.record(Call(second, principal, "signin", "ConsoleLogin")) | {
            "eventType": "AwsConsoleSignIn",
            "responseElements": {"ConsoleLogin": "Success" if good else "Failure"},
            "additionalEventData": {"MFAUsed": "Yes", "MobileVersion": "No"},
        }

    def _transfer(self, call: Call) -> Record:
        size = 0 if call.error or call.name == "ListBuckets" else self._rng.randint(90, 4_000_000)
        return {
            "additionalEventData": {
                "AuthenticationMethod": "AuthHeader",
                "CipherSuite": "TLS_AES_128_GCM_SHA256",
                "SignatureVersion": "SigV4",
                "bytesTransferredIn": 0.0,
                "bytesTransferredOut": float(size),
                "x-amz-id-2": base64.b64encode(self._rng.randbytes(36)).decode(),
            },
            "eventCategory": "Data",
            "managementEvent": False,
        }

    def _identity(self, principal: Principal, second: int) -> Record:
        began = second // (CREDENTIAL_HOURS * 3600) * CREDENTIAL_HOURS * 3600
        role = principal.role
        attributes = {"creationDate": self.time(began), "mfaAuthenticated": "false" if role else "true"}
        identity = {
            "type": "AssumedRole" if role else "IAMUser",
            "arn": principal.arn,
            "accountId": ACCOUNT,
            "accessKeyId": self.key(principal, second),
        }
        if role is None:
            return identity | {
                "principalId": f"AIDAINVENTED{hash_of(principal.name):09d}",
                "userName": principal.name,
                "sessionContext": {"attributes": attributes},
            }
        role_id = f"AROAINVENTED{hash_of(role.name):09d}"
        issuer = {
            "type": "Role",
            "principalId": role_id,
            "arn": f"arn:aws:iam::{ACCOUNT}:role/{role.name}",
            "accountId": ACCOUNT,
            "userName": role.name,
        }
        return identity | {
            "principalId": f"{role_id}:{principal.name}",
            "sessionContext": {"sessionIssuer": issuer, "attributes": attributes, "ec2RoleDelivery": "2.0"},
        }


def object_call(second: int, principal: Principal, name: str, bucket: str, key: str, **how: Any) -> Call:
    """A call on one object; `how` is `error`, `address`, `agent`."""
    return Call(
        second,
        principal,
        "s3",
        name,
        {"bucketName": bucket, "key": key, "Host": f"{bucket}.s3.amazonaws.com"},
        [
            {"ARN": arn(bucket, key), "type": "AWS::S3::Object"},
            {"ARN": arn(bucket), "accountId": ACCOUNT, "type": "AWS::S3::Bucket"},
        ],
        **how,
    )


def list_call(second: int, principal: Principal, bucket: str, **how: Any) -> Call:
    """A listing of one bucket, or of all buckets when it is ""; `how` as with `object_call`."""
    if not bucket:
        return Call(second, principal, "s3", "ListBuckets", {"Host": "s3.amazonaws.com"}, **how)
    return Call(
        second,
        principal,
        "s3",
        "ListObjects",
        {"bucketName": bucket, "Host": f"{bucket}.s3.amazonaws.com", "list-type": "2", "prefix": ""},
        [
            {"ARNPrefix": f"{arn(bucket)}/", "type": "AWS::S3::Object"},
            {"ARN": arn(bucket), "accountId": ACCOUNT, "type": "AWS::S3::Bucket"},
        ],
        **how,
    )


def uuid_text(rng: random.Random) -> str:
    """A version 4 UUID from the given source."""
    digits = f"{rng.getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def hash_of(text: str) -> int:
    """A small stable number for a name (FNV-1a modulo a billion); `hash` differs from run to run."""
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value % 1_000_000_000
