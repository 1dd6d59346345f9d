"""Error codes of steps, grouped by the kind of problem they point to.

``ActionCadenceStepTracker.ErrorCode`` has 41 documented values (API 48.0 and later). The kind answers the question of a person at 3 a.m.,
where to look: the prospect's data, the sender's mailbox, the template, a quota, a permission, or a problem that resolves by itself. The
grouping is this project's; Salesforce documents the codes only. Unlisted codes have the kind ``unknown`` and pass through as text.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["ERROR_KINDS", "ErrorKind", "error_kind"]

ErrorKind = Literal["prospect data", "mailbox", "template", "quota", "permission", "transient", "unknown"]

_CODES_BY_KIND: Final[dict[ErrorKind, tuple[str, ...]]] = {
    "prospect data": (
        "INVALID_TARGET_EMAIL",
        "TARGET_DO_NOT_CONTACT_ON",
        "TARGET_EMAIL_BOUNCED",
        "TARGET_EMAIL_EMPTY",
        "OTHER_REQ_FIELD_MISSING",
    ),
    "mailbox": (
        "EAC_GLOBAL_DATA_SOURCE_ERROR",
        "EXCHANGE_MAX_MAILBOX_SIZE",
        "EXCHANGE_SEND_AS_DENIED",
        "FIX_WITH_RECONNECT",
        "GOOGLE_MAIL_SERVICE_NOT_ENABLED",
        "INVALID_USER_EMAIL",
        "SENDER_MAILBOX_NOT_FOUND",
    ),
    "template": (
        "INVALID_DRAFT",
        "INVALID_TEMPLATE_ID",
        "PARDOT_MERGE_FIELD_RENDERING_ERROR",
        "TEMPLATE_DELETED",
        "TEMPLATE_EMPTY",
        "TEMPLATE_HAS_INVALID_MERGE_FIELD",
        "TEMPLATE_MERGE_FIELD_RENDERING_ERROR",
        "TEMPLATE_TOO_LARGE",
    ),
    "quota": (
        "AUTO_EMAIL_DAILY_LIMIT_REACHED",
        "MAIL_PROVIDER_RATE_LIMIT_REACHED",
        "ORG_WIDE_AUTO_EMAIL_LIMIT_REACHED",
        "ORG_WIDE_DAILY_EMAIL_LIMIT_REACHED",
    ),
    "permission": (
        "AUTO_EMAIL_ORG_SETTING_OFF",
        "BCC_NOT_ALLOWED_IF_BCC_COMPLIANCE_ENABLED",
        "EMAIL_ORG_SETTING_OFF",
        "NO_ATTACHMENT_ACCESS",
        "NO_CONTENT_VERSION_ACCESS",
        "NO_LIST_EMAIL_PERMISSION",
        "NO_TARGET_ACCESS",
        "TEMPLATE_NOT_PUBLIC",
        "USER_HAS_LOST_HVS_ACCESS",
        "USER_IS_INACTIVE",
    ),
    "transient": (
        "AUTO_LIST_MQ_MAX_RETRIES_FAILED",
        "POST_SEND_EXCEPTION",
        "RETRIES_MAX_EXCEEDED",
        "RETRY_LATER",
    ),
    "unknown": ("NON_EMAIL_UNKNOWN_ERROR", "SCHEDULED_EMAIL_FAILED", "UNKNOWN"),
}

ERROR_KINDS: Final[dict[str, ErrorKind]] = {
    code: kind for kind, codes in _CODES_BY_KIND.items() for code in codes
}
"""Code to kind, for the 41 documented codes."""


def error_kind(code: str | None) -> ErrorKind:
    """Kind of problem behind an error code; ``unknown`` for undocumented codes."""
    return ERROR_KINDS.get(code or "", "unknown")
