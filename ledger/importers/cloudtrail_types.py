"""Which event family an AWS API call belongs to (event vocabulary, taxonomy of families).

Only calls that read, write or hand on stored data, or that change who may, have a family of their
own; every other call is `api.called`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

S3: Final = "s3.amazonaws.com"
IAM: Final = "iam.amazonaws.com"

FAMILIES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    S3: {
        "data.download": ("GetObject", "GetObjectTorrent"),
        "data.export": ("CopyObject", "UploadPartCopy"),
        "data.view": ("SelectObjectContent",),
        "data.search": (
            "ListBuckets",
            "ListObjects",
            "ListObjectsV2",
            "ListObjectVersions",
            "ListMultipartUploads",
        ),
        "data.create": ("PutObject", "PostObject", "CompleteMultipartUpload"),
        "data.delete": ("DeleteObject", "DeleteObjects", "DeleteBucket"),
        "permission.granted": (
            "PutBucketPolicy",
            "PutBucketAcl",
            "PutObjectAcl",
            "DeleteBucketPublicAccessBlock",
        ),
        "permission.revoked": ("DeleteBucketPolicy", "PutBucketPublicAccessBlock"),
    },
    "dynamodb.amazonaws.com": {
        "data.view": ("GetItem", "BatchGetItem", "TransactGetItems"),
        "data.search": ("Query", "Scan", "ExecuteStatement"),
        "data.create": ("PutItem",),
        "data.modify": ("UpdateItem",),
        "data.delete": ("DeleteItem",),
        "data.export": ("ExportTableToPointInTime",),
    },
    "kms.amazonaws.com": {"data.decrypt": ("Decrypt",), "key.destroyed": ("ScheduleKeyDeletion",)},
    "sts.amazonaws.com": {
        "auth.assumed_role": (
            "AssumeRole",
            "AssumeRoleWithSAML",
            "AssumeRoleWithWebIdentity",
            "GetFederationToken",
            "GetSessionToken",
        ),
    },
    "signin.amazonaws.com": {"auth.login": ("ConsoleLogin", "SwitchRole"), "auth.logout": ("Logout",)},
    IAM: {
        "permission.granted": (
            "AddUserToGroup",
            "AddRoleToInstanceProfile",
            "AttachGroupPolicy",
            "AttachRolePolicy",
            "AttachUserPolicy",
            "CreatePolicyVersion",
            "DeleteRolePermissionsBoundary",
            "DeleteUserPermissionsBoundary",
            "PutGroupPolicy",
            "PutRolePolicy",
            "PutUserPolicy",
            "SetDefaultPolicyVersion",
            "UpdateAssumeRolePolicy",
        ),
        "permission.revoked": (
            "DeleteGroupPolicy",
            "DeletePolicyVersion",
            "DeleteRolePolicy",
            "DeleteUserPolicy",
            "DetachGroupPolicy",
            "DetachRolePolicy",
            "DetachUserPolicy",
            "PutRolePermissionsBoundary",
            "PutUserPermissionsBoundary",
            "RemoveRoleFromInstanceProfile",
            "RemoveUserFromGroup",
        ),
        "identity.created": ("CreateUser", "CreateRole", "CreateGroup"),
        "identity.deleted": ("DeleteUser", "DeleteRole", "DeleteGroup"),
        "credential.issued": ("CreateAccessKey", "CreateLoginProfile"),
        "credential.revoked": ("DeleteAccessKey", "DeleteLoginProfile"),
        "auth.mfa_enrolled": ("EnableMFADevice",),
        "auth.mfa_removed": ("DeactivateMFADevice",),
    },
    "cloudtrail.amazonaws.com": {
        "logging.started": ("StartLogging",),
        "logging.stopped": ("StopLogging", "DeleteTrail"),
        "logging.rules_changed": ("PutEventSelectors", "UpdateTrail"),
    },
}

_BY_CALL: Final = {
    (service, call): family
    for service, families in FAMILIES.items()
    for family, calls in families.items()
    for call in calls
}


def family_of(service: str, call: str) -> str:
    """The event family (`data.download`, ...) of an API call; `api.called` when it has none of its own."""
    return _BY_CALL.get((service, call), "api.called")
