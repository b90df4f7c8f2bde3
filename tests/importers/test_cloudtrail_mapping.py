"""One CloudTrail record in, one event out."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.cloudevents import read_event
from ledger.encoding import canonical
from ledger.errors import InputError
from ledger.importers import cloudtrail, lossless

ACCOUNT = "210987654321"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/EdgeProxy/i-00aa11bb22cc33dd4"


def record(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLE:i-00aa11bb22cc33dd4",
            "arn": ROLE,
            "accountId": ACCOUNT,
            "accessKeyId": "ASIAEXAMPLE000000001",
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{ACCOUNT}:role/EdgeProxy"},
                "attributes": {"mfaAuthenticated": "false", "creationDate": "2026-03-10T08:00:00Z"},
            },
        },
        "eventTime": "2026-03-10T09:00:00Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "[aws-cli/2]",
        "requestParameters": {"bucketName": "people", "key": "a/b.csv"},
        "responseElements": None,
        "additionalEventData": {"bytesTransferredOut": 89.0, "ratio": 0.10},
        "eventID": "11111111-2222-4333-8444-555555555555",
        "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
    }
    base.update(changes)
    return {key: value for key, value in base.items() if value is not ...}


def event(**changes: Any) -> dict[str, Any]:
    return cloudtrail.to_event(lossless.parse(json.dumps(record(**changes))))


def test_get_object_becomes_a_download_with_actor_credential_address_and_resource():
    made = event()
    assert made["source"] == f"urn:aws:cloudtrail:{ACCOUNT}:eu-west-1"
    assert made["id"] == "11111111-2222-4333-8444-555555555555"
    assert made["type"] == "org.tocsin.data.download.v1"
    assert made["time"] == "2026-03-10T09:00:00.000Z"
    data = made["data"]
    assert data["actor"] == {
        "id": ROLE,
        "kind": "service",
        "org": ACCOUNT,
        "roles": [f"arn:aws:iam::{ACCOUNT}:role/EdgeProxy"],
        "session": "AROAEXAMPLE:i-00aa11bb22cc33dd4@2026-03-10T08:00:00Z",
        "mfa": False,
    }
    assert data["credential"] == "ASIAEXAMPLE000000001"
    assert data["client"] == {"ip": "203.0.113.7", "user_agent": "[aws-cli/2]"}
    assert data["resource"] == {
        "type": "AWS::S3::Object",
        "id": "arn:aws:s3:::people/a/b.csv",
        "container": "arn:aws:s3:::people",
        "count": 1,
    }
    assert data["outcome"] == "success"


def test_the_raw_record_is_kept_without_floats_and_without_loss():
    raw = event()["data"]["raw"]
    assert raw["additionalEventData"] == {"bytesTransferredOut": 89, "ratio": "0.1"}
    assert {key: value for key, value in raw.items() if key != "additionalEventData"} == {
        key: value for key, value in record().items() if key != "additionalEventData"
    }


@pytest.mark.parametrize(
    ("service", "call", "family"),
    [
        ("s3", "GetObject", "data.download"),
        ("s3", "ListBuckets", "data.search"),
        ("s3", "ListObjects", "data.search"),
        ("s3", "PutObject", "data.create"),
        ("s3", "DeleteObject", "data.delete"),
        ("s3", "PutBucketPolicy", "permission.granted"),
        ("s3", "HeadObject", "api.called"),
        ("sts", "AssumeRole", "auth.assumed_role"),
        ("signin", "ConsoleLogin", "auth.login"),
        ("iam", "AttachUserPolicy", "permission.granted"),
        ("iam", "DetachUserPolicy", "permission.revoked"),
        ("iam", "CreateAccessKey", "credential.issued"),
        ("kms", "Decrypt", "data.decrypt"),
        ("ec2", "DescribeInstances", "api.called"),
        ("ec2", "GetObject", "api.called"),
    ],
)
def test_the_type_follows_service_and_call(service, call, family):
    made = event(eventSource=f"{service}.amazonaws.com", eventName=call)
    read_event(made)
    assert made["type"] == f"org.tocsin.{family}.v1"
    assert made["data"]["details"]["call"] == f"{service}:{call}"


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (..., "success"),
        ("AccessDenied", "denied"),
        ("Client.UnauthorizedOperation", "denied"),
        ("NoSuchKey", "failure"),
        ("InternalError", "error"),
    ],
)
def test_the_error_code_decides_the_outcome(code, outcome):
    data = event(errorCode=code, errorMessage="jane@example.org is not allowed")["data"]
    assert data["outcome"] == outcome
    assert data.get("outcome_reason") == (None if code is ... else code)
    del data["raw"]
    assert "jane" not in json.dumps(data)


def test_a_failed_console_login_has_no_error_code_and_is_still_a_failure():
    made = event(
        eventSource="signin.amazonaws.com",
        eventName="ConsoleLogin",
        responseElements={"ConsoleLogin": "Failure"},
        additionalEventData={"MFAUsed": "Yes"},
        userIdentity={"type": "IAMUser", "userName": "ann", "accountId": ACCOUNT},
    )
    assert made["type"] == "org.tocsin.auth.failed.v1"
    assert made["data"]["outcome"] == "failure"
    assert made["data"]["actor"] == {"id": "ann", "kind": "human", "org": ACCOUNT, "mfa": True}


def test_calls_made_inside_aws_carry_a_service_not_an_address():
    data = event(
        eventSource="sts.amazonaws.com",
        eventName="AssumeRole",
        sourceIPAddress="ec2.amazonaws.com",
        userIdentity={"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
        resources=[{"type": "AWS::IAM::Role", "ARN": f"arn:aws:iam::{ACCOUNT}:role/EdgeProxy"}],
        requestParameters={"roleSessionName": "i-1"},
    )["data"]
    assert data["actor"]["kind"] == "system"
    assert data["details"] == {
        "call": "sts:AssumeRole",
        "invoked_by": "ec2.amazonaws.com",
        "origin": "ec2.amazonaws.com",
    }
    assert "ip" not in data["client"]
    assert "credential" not in data
    assert data["resource"] == {"type": "AWS::IAM::Role", "id": f"arn:aws:iam::{ACCOUNT}:role/EdgeProxy"}


def test_an_anonymous_read_of_a_public_object_has_an_anonymous_actor():
    made = event(userIdentity={"type": "AWSAccount", "principalId": "", "accountId": "anonymous"})
    assert made["data"]["actor"]["kind"] == "anonymous"
    assert made["authtype"] == "unauthenticated"


def test_an_iam_user_is_a_subject_and_never_a_resource():
    user = f"arn:aws:iam::{ACCOUNT}:user/ann"
    made = event(
        eventSource="iam.amazonaws.com",
        eventName="AttachUserPolicy",
        requestParameters={"userName": "ann", "policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
        resources=[{"type": "AWS::IAM::User", "ARN": user}],
    )
    assert made["data"]["resource"]["id"] == "arn:aws:iam::aws:policy/ReadOnlyAccess"
    assert made["data"]["subjects"] == [{"id": user, "category": "Employee", "relation": "grantee"}]
    assert made["subject"] == "arn:aws:iam::aws:policy/ReadOnlyAccess"


def test_a_copy_names_the_object_that_was_read():
    resource = event(
        eventName="CopyObject",
        requestParameters={
            "bucketName": "out",
            "key": "x",
            "x-amz-copy-source": "/people/a%20b.csv?versionId=1",
        },
        resources=[{"type": "AWS::S3::Object", "ARN": "arn:aws:s3:::out/x"}],
    )["data"]["resource"]
    assert resource["id"] == "arn:aws:s3:::people/a b.csv"


def test_data_touched_without_a_named_resource_still_has_one():
    made = event(eventSource="dynamodb.amazonaws.com", eventName="Scan", requestParameters={"tableName": "people"})
    assert made["data"]["resource"]["id"] == f"arn:aws:dynamodb:eu-west-1:{ACCOUNT}:table/people"
    made = event(eventSource="kms.amazonaws.com", eventName="Decrypt", requestParameters=None)
    assert made["data"]["resource"]["id"] == f"arn:aws:kms:eu-west-1:{ACCOUNT}:*"


def test_chinese_regions_have_their_own_partition():
    assert event(awsRegion="cn-north-1")["data"]["resource"]["container"] == "arn:aws-cn:s3:::people"


def test_logstash_time_is_read_and_other_offsets_become_utc():
    assert event(eventTime=..., **{"@timestamp": "2026-03-10T10:00:00.250+01:00"})["time"] == (
        "2026-03-10T09:00:00.250Z"
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"eventID": ...}, "/eventID"),
        ({"eventID": 7}, "/eventID"),
        ({"eventName": None}, "/eventName"),
        ({"eventSource": "secret name"}, "/eventSource"),
        ({"awsRegion": ...}, "/awsRegion"),
        ({"eventTime": ...}, "/eventTime"),
        ({"eventTime": "yesterday, secret"}, "/eventTime"),
        ({"eventTime": "2026-02-30T09:00:00Z"}, "/eventTime"),
        ({"userIdentity": "secret"}, "/userIdentity"),
        ({"recipientAccountId": "secret"}, "/recipientAccountId"),
        ({"recipientAccountId": ..., "userIdentity": ...}, "/recipientAccountId"),
        ({"requestParameters": ["secret"]}, "/requestParameters"),
        ({"errorCode": {"secret": 1}}, "/errorCode"),
    ],
)
def test_a_refusal_names_the_field_and_never_the_content(changes, field):
    with pytest.raises(InputError) as caught:
        event(**changes)
    assert caught.value.field == field
    assert field[1:] in str(caught.value)
    assert "secret" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_in_a_record_has_a_canonical_form_afterwards(value):
    made = cloudtrail.to_event(lossless.parse(json.dumps(record(requestParameters={"x": value}))))
    canonical(made)


@given(st.lists(st.text(max_size=8), unique=True))
def test_ascii_keys_stay_distinct(keys):
    assert len(lossless.plain(dict.fromkeys(keys, 1))) == len(keys)


def test_nesting_beyond_the_ledgers_limit_is_kept_as_text():
    deep: Any = "bottom"
    for _ in range(60):
        deep = {"d": deep}
    raw = event(requestParameters={"bucketName": "b", "deep": deep})["data"]["raw"]
    canonical(raw)
    assert "bottom" in json.dumps(raw)


def test_numbers_lose_no_digits():
    text = '{"a": 0.1000000000000000055, "b": 3.0, "c": 9007199254740993, "d": 1e400, "e": -0.0}'
    assert lossless.plain(lossless.parse(text)) == {
        "a": "0.1000000000000000055",
        "b": 3,
        "c": "9007199254740993",
        "d": "1e400",
        "e": "-0.0",
    }


def test_every_record_of_the_real_breach_is_mapped(shared):
    lines = (shared / "data/cloudtrail-s3-breach/cloudtrail.ndjson").read_bytes().splitlines()
    events = [cloudtrail.to_event(lossless.parse(line)) for line in lines]
    for made in events:
        read_event(made)
    assert Counter(made["type"] for made in events) == {
        "org.tocsin.api.called.v1": 87,
        "org.tocsin.data.search.v1": 9,
        "org.tocsin.auth.assumed_role.v1": 5,
        "org.tocsin.data.download.v1": 2,
    }
    downloads = [made for made in events if made["type"] == "org.tocsin.data.download.v1"]
    assert [made["time"] for made in downloads] == ["2020-09-14T01:02:34.000Z", "2020-09-14T01:13:20.000Z"]
    assert {made["data"]["resource"]["id"].rpartition("/")[2] for made in downloads} == {"ring.txt"}
    assert len({made["data"]["actor"]["id"] for made in downloads}) == 1
