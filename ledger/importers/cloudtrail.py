"""AWS CloudTrail records as CloudEvents: the pure mapping, one record in, one event out.

Field meanings follow the CloudTrail record contents reference (event versions 1.05 to 1.11). Two
shapes of the same record are read: AWS's own (`eventTime`) and Logstash's (`@timestamp`).

The event keeps what answers "who touched which resource, from where, with which credential, and did
it work" in named fields and the whole record under `data.raw`. The ledger swaps identities for
pseudonyms and seals `raw` and the user agent; nothing here is secret-keeping.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from ledger.encoding import format_time, parse_time
from ledger.errors import InputError
from ledger.importers.cloudtrail_types import IAM, S3, family_of
from ledger.importers.lossless import plain

PREFIX: Final = "org.tocsin."

Record = Mapping[str, Any]
Event = dict[str, Any]

_ACTOR_KINDS: Final = {
    "Root": "human",
    "IAMUser": "human",
    "FederatedUser": "human",
    "IdentityCenterUser": "human",
    "SAMLUser": "human",
    "WebIdentityUser": "human",
    "AWSService": "system",
}
_AUTH_TYPES: Final = {
    "human": "user",
    "service": "service_account",
    "system": "system",
    "anonymous": "unauthenticated",
}
_DENIED = re.compile(
    r"AccessDenied|Unauthorized|AuthFailure|Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
    r"|InvalidClientTokenId|AllAccessDisabled",
    re.IGNORECASE,
)
_SERVER_ERROR = re.compile(r"Internal(Error|Failure)|ServiceUnavailable|ServerException", re.IGNORECASE)
_ZULU = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_IDENTIFIER = re.compile(r"[\x21-\x7e]{1,64}", re.ASCII)
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


def to_event(record: Any) -> Event:
    """Turn one CloudTrail record into a CloudEvent (attributes and `data`, JSON values only).

    Args:
        record: one decoded record, as `lossless.parse` gives it.

    Raises:
        InputError: a required field is missing or has another shape; `field` is its JSON Pointer.
    """
    if not isinstance(record, Mapping):
        raise InputError("the record is not a JSON object", field="")
    record = plain(dict(record))
    service = _text(record, "eventSource", _NAME)
    name = _text(record, "eventName", _NAME)
    region = _text(record, "awsRegion", _NAME)
    account = _account(record)
    outcome, reason = _outcome(record)
    family = family_of(service, name)
    if family in {"auth.login", "auth.assumed_role"} and outcome != "success":
        family = "auth.failed"
    actor = _actor(record, service)
    data: Event = {
        "actor": actor,
        "client": _client(record),
        "details": _details(record, service, name),
        "outcome": outcome,
        "raw": record,
    }
    if reason:
        data["outcome_reason"] = reason
    credential = _mapping(record, "userIdentity").get("accessKeyId")
    if isinstance(credential, str) and credential:
        data["credential"] = credential
    resource = _resource(record, service, family, region, account)
    if resource:
        data["resource"] = resource
    subjects = _grantee(record, service)
    if subjects:
        data["subjects"] = subjects
    event: Event = {
        "specversion": "1.0",
        "id": _text(record, "eventID", _IDENTIFIER),
        "source": f"urn:aws:cloudtrail:{account}:{region}",
        "type": f"{PREFIX}{family}.v1",
        "time": _time(record),
        "datacontenttype": "application/json",
        "dataclassification": "restricted" if family.startswith("data.") else "internal",
        "authtype": _AUTH_TYPES[actor["kind"]],
        "data": data,
    }
    if resource:
        event["subject"] = resource["id"]
    return event


def _text(record: Record, field: str, form: re.Pattern[str]) -> str:
    value = record.get(field)
    if not isinstance(value, str) or form.fullmatch(value) is None:
        state = "is missing" if value is None else "does not have the form CloudTrail gives it"
        raise InputError(f"{field} {state}", field=f"/{field}")
    return value


def _mapping(record: Record, field: str) -> Record:
    """A nested object; absent and null count as empty."""
    value = record.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InputError(f"{field} is not an object", field=f"/{field}")
    return value


def _account(record: Record) -> str:
    if record.get("recipientAccountId") is not None:
        return _text(record, "recipientAccountId", _ACCOUNT)
    value = _mapping(record, "userIdentity").get("accountId")
    if not isinstance(value, str) or _ACCOUNT.fullmatch(value) is None:
        raise InputError("recipientAccountId is missing", field="/recipientAccountId")
    return value


def _time(record: Record) -> str:
    field = "eventTime" if "eventTime" in record else "@timestamp"
    value = record.get(field)
    if not isinstance(value, str):
        raise InputError("eventTime is missing" if value is None else f"{field} is not text", field="/eventTime")
    if _ZULU.fullmatch(value):  # AWS's own form; the slow road below reads all of RFC 3339
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise InputError(f"{field} names a date or hour that does not exist", field=f"/{field}") from None
        return f"{value[:-1]}.000Z"
    try:
        return format_time(parse_time(value).astimezone(UTC))
    except InputError:
        raise InputError(f"{field} is not an RFC 3339 time with a zone", field=f"/{field}") from None


def _outcome(record: Record) -> tuple[str, str | None]:
    """Outcome and AWS's error code (the error *message* names people and stays in the sealed record)."""
    code = record.get("errorCode")
    if code is not None and not isinstance(code, str):
        raise InputError("errorCode is not text", field="/errorCode")
    if code:
        if _DENIED.search(code):
            return "denied", code
        return ("error" if _SERVER_ERROR.search(code) else "failure"), code
    answer = record.get("responseElements")
    if isinstance(answer, Mapping) and answer.get("ConsoleLogin") == "Failure":
        return "failure", "ConsoleLogin"
    return "success", None


def _actor(record: Record, service: str) -> Event:
    identity = _mapping(record, "userIdentity")
    who = next(
        (
            value
            for key in ("arn", "principalId", "userName", "invokedBy", "accountId")
            if isinstance(value := identity.get(key), str) and value
        ),
        None,
    )
    actor: Event = {"id": who or service, "kind": _kind(identity, who)}
    if isinstance(identity.get("accountId"), str):
        actor["org"] = identity["accountId"]
    context = identity.get("sessionContext")
    context = context if isinstance(context, Mapping) else {}
    issuer = context.get("sessionIssuer")
    if isinstance(issuer, Mapping) and isinstance(issuer.get("arn"), str) and issuer.get("type") == "Role":
        actor["roles"] = [issuer["arn"]]
    attributes = context.get("attributes")
    if isinstance(attributes, Mapping):
        if isinstance(attributes.get("creationDate"), str):
            actor["session"] = f"{identity.get('principalId') or actor['id']}@{attributes['creationDate']}"
        if attributes.get("mfaAuthenticated") in ("true", "false"):
            actor["mfa"] = attributes["mfaAuthenticated"] == "true"
    extra = record.get("additionalEventData")
    if isinstance(extra, Mapping) and extra.get("MFAUsed") in ("Yes", "No"):
        actor["mfa"] = extra["MFAUsed"] == "Yes"
    return actor


def _kind(identity: Record, who: str | None) -> str:
    if not identity:
        return "system"
    if who is None or who.lower() in ("anonymous", "anonymous_principal"):
        return "anonymous"
    if "/AWSReservedSSO_" in who:  # a person behind IAM Identity Center
        return "human"
    return _ACTOR_KINDS.get(str(identity.get("type")), "service")


def _client(record: Record) -> Event:
    """Where the call came from; calls made inside AWS have a service name in place of an address."""
    client: Event = {}
    address = _address(record)
    if address:
        client["ip"] = address
    agent = record.get("userAgent")
    if isinstance(agent, str) and agent:
        client["user_agent"] = agent
    return client


def _address(record: Record) -> str | None:
    try:
        return str(ipaddress.ip_address(str(record.get("sourceIPAddress"))))
    except ValueError:
        return None


def _details(record: Record, service: str, name: str) -> Event:
    """What CloudTrail says and the vocabulary has no field for; the ledger seals it."""
    details: Event = {"call": f"{service.removesuffix('.amazonaws.com')}:{name}"}
    for field, value in (
        ("invoked_by", _mapping(record, "userIdentity").get("invokedBy")),
        ("origin", None if _address(record) else record.get("sourceIPAddress")),
    ):
        if isinstance(value, str) and value:
            details[field] = value
    return details


def _resource(record: Record, service: str, family: str, region: str, account: str) -> Event | None:
    if service == S3:
        return _s3_resource(record, family, region, account)
    candidates = [*_listed(record), *((None, value) for value in _named(record))]
    for kind, arn in candidates:
        if ":user/" not in arn:  # a user is a person and becomes a subject, see `_grantee`
            return {"type": kind or "AWS::Resource", "id": arn}
    if not family.startswith("data."):
        return None
    scope = f"arn:{_partition(region)}:{service.removesuffix('.amazonaws.com')}:{region}:{account}"
    table = _mapping(record, "requestParameters").get("tableName")
    if isinstance(table, str) and table:
        return {"type": "AWS::DynamoDB::Table", "id": f"{scope}:table/{table}"}
    return {"type": "AWS::Service", "id": f"{scope}:*"}  # data was touched; the record does not say which


def _listed(record: Record) -> Iterator[tuple[str | None, str]]:
    """(type, ARN) of each entry of `resources`."""
    items = record.get("resources")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping) and isinstance(item.get("ARN"), str) and item["ARN"]:
            yield str(item.get("type") or "") or None, item["ARN"]


def _named(record: Record) -> Iterator[str]:
    """ARNs among the request's parameters."""
    parameters = record.get("requestParameters")
    for key in ("roleArn", "policyArn", "tableName", "keyId", "name"):
        value = parameters.get(key) if isinstance(parameters, Mapping) else None
        if isinstance(value, str) and value.startswith("arn:"):
            yield value


def _s3_resource(record: Record, family: str, region: str, account: str) -> Event:
    """The object or bucket that was touched; for a copy, the object that was read (`raw` says where to)."""
    head = f"arn:{_partition(region)}:s3:::"
    parameters = _mapping(record, "requestParameters")
    bucket, key = parameters.get("bucketName"), parameters.get("key")
    listed = {kind: arn for kind, arn in _listed(record) if kind}
    source = parameters.get("x-amz-copy-source")
    if family == "data.export" and isinstance(source, str) and "/" in source.strip("/"):
        bucket, _, key = unquote(source.partition("?")[0]).strip("/").partition("/")
        listed = {}
    if not isinstance(bucket, str) or not bucket:
        return {"type": "AWS::Account", "id": f"arn:{_partition(region)}:iam::{account}:root"}
    # An access point stands in the parameters by its own ARN; `resources` names the bucket behind it.
    container = listed.get("AWS::S3::Bucket") or (bucket if bucket.startswith("arn:") else head + bucket)
    if not isinstance(key, str) or not key:
        return {"type": "AWS::S3::Bucket", "id": container}
    return {
        "type": "AWS::S3::Object",
        "id": listed.get("AWS::S3::Object") or f"{container}/{key}",
        "container": container,
        "count": 1,
    }


def _partition(region: str) -> str:
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def _grantee(record: Record, service: str) -> list[Event]:
    """The IAM user a change is about: a person, so a subject and never a resource."""
    parameters = record.get("requestParameters")
    if service != IAM or not isinstance(parameters, Mapping):
        return []
    user = parameters.get("userName")
    if not isinstance(user, str) or not user:
        return []
    return [
        {
            "id": f"arn:{_partition(str(record['awsRegion']))}:iam::{_account(record)}:user/{user}",
            "category": "Employee",
            "relation": "grantee",
        }
    ]
