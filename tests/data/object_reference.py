"""Both objects as the Object Reference describes them, copied from its pages by hand.

A field: (type, API version it is documented since or None for the object's own, nullable, calculated). Both revisions of the tracker's page
were read: the older one (API 45) lacks six fields, two states and two completion reasons of the newer one, and contradicts nothing in it.
The kinds of the error codes are not Salesforce's: who has to act on each, decided once by a person.
"""

TRACKER_SINCE, STEP_TRACKER_SINCE = "45.0", "48.0"

TRACKER_FIELDS = {
    "ActionCadenceId": ("reference", None, True, False),
    "CompletionDisposition": ("picklist", "51.0", True, False),
    "CompletionReason": ("picklist", None, True, False),
    "CurrentStepId": ("reference", None, True, False),
    "DaisyChainIteration": ("int", "53.0", True, False),
    "ErrorMessage": ("string", None, True, False),
    "ExitGlobalRuleId": ("reference", "49.0", True, False),
    "IsTrackerActive": ("boolean", "50.0", False, False),
    "LastCompletedStepId": ("reference", None, True, False),
    "OwnerId": ("reference", None, False, False),
    "RelatedToAttributionType": ("picklist", "51.0", True, False),
    "RelatedToId": ("reference", "51.0", True, False),
    "ScheduledResumeDateTime": ("dateTime", "53.0", True, False),
    "State": ("picklist", None, False, False),
    "TargetId": ("reference", None, True, False),
}

STEP_TRACKER_FIELDS = {
    "ActionCadenceId": ("reference", None, True, False),
    "ActionCadenceName": ("string", None, True, False),
    "ActionCadenceStepId": ("reference", None, True, False),
    "ActionCadenceTrackerId": ("reference", None, False, False),
    "ActionTakenDateTime": ("dateTime", None, True, False),
    "CompletedById": ("reference", "50.0", True, False),
    "CompletionDate": ("dateTime", None, True, False),
    "CompletionReason": ("picklist", None, True, False),
    "DueDateTime": ("dateTime", None, True, False),
    "ErrorCode": ("picklist", None, True, False),
    "GoToStepIterationCount": ("int", "58.0", True, False),
    "IsActionTaken": ("boolean", None, False, True),
    "ScheduledStartDateTime": ("dateTime", "58.0", True, False),
    "SecondsOverdue": ("int", None, True, True),
    "State": ("picklist", None, True, False),
    "StepTitle": ("string", None, True, False),
    "StepType": ("picklist", None, True, False),
    "TargetId": ("reference", None, True, False),
    "WasEverPaused": ("boolean", "50.0", False, False),
}

TRACKER_FIELDS_OF_THE_OLD_PAGE = [
    "ActionCadenceId",
    "CompletionReason",
    "CurrentStepId",
    "ErrorMessage",
    "ExitGlobalRuleId",
    "LastCompletedStepId",
    "OwnerId",
    "State",
    "TargetId",
]

TRACKER_STATES = ["Complete", "Error", "Initializing", "Paused", "Processing", "Running"]
TRACKER_REASONS = [
    "AutomaticallyExited",
    "AutomaticallyExitedDeletedStep",
    "AutomaticallyExitedInvalidParentStep",
    "DaisyChained",
    "LeadConverted",
    "ManuallyRemoved",
    "ManuallyRemovedNoAccess",
    "NoMoreSteps",
]
DISPOSITIONS = [
    "Bad Data",
    "Contact Later",
    "Customer Connected",
    "Customer Engaged",
    "Disqualified",
    "Duplicate",
    "No Response",
    "Not Interested",
    "Success",
]
ATTRIBUTIONS = ["Activation", "Collected", "Collection Advancement", "Maturation"]

STEP_STATES = ["Active", "Cancelled", "Completed", "Error", "InProgress", "Paused", "Queued", "Scheduled"]
STEP_REASONS = ["AutomaticallyCompleted", "AutomaticallyExited", "ManuallyCompleted", "ManuallySkipped"]
STEP_TYPES = [
    "AutoSendAnEmail",
    "Branch",
    "CreateTask",
    "DaisyChain",
    "LinkedInConnection",
    "LinkedInMail",
    "ListenerBranch",
    "MakeACall",
    "PlatformScreenFlow",
    "Root",
    "SendAnEmail",
    "SubRoot",
    "Wait",
]

ERROR_CODES = {
    "AUTO_EMAIL_DAILY_LIMIT_REACHED": "quota",
    "AUTO_EMAIL_ORG_SETTING_OFF": "permission",
    "AUTO_LIST_MQ_MAX_RETRIES_FAILED": "transient",
    "BCC_NOT_ALLOWED_IF_BCC_COMPLIANCE_ENABLED": "permission",
    "EAC_GLOBAL_DATA_SOURCE_ERROR": "mailbox",
    "EMAIL_ORG_SETTING_OFF": "permission",
    "EXCHANGE_MAX_MAILBOX_SIZE": "mailbox",
    "EXCHANGE_SEND_AS_DENIED": "mailbox",
    "FIX_WITH_RECONNECT": "mailbox",
    "GOOGLE_MAIL_SERVICE_NOT_ENABLED": "mailbox",
    "INVALID_DRAFT": "template",
    "INVALID_TARGET_EMAIL": "prospect data",
    "INVALID_TEMPLATE_ID": "template",
    "INVALID_USER_EMAIL": "mailbox",
    "MAIL_PROVIDER_RATE_LIMIT_REACHED": "quota",
    "NON_EMAIL_UNKNOWN_ERROR": "unknown",
    "NO_ATTACHMENT_ACCESS": "permission",
    "NO_CONTENT_VERSION_ACCESS": "permission",
    "NO_LIST_EMAIL_PERMISSION": "permission",
    "NO_TARGET_ACCESS": "permission",
    "ORG_WIDE_AUTO_EMAIL_LIMIT_REACHED": "quota",
    "ORG_WIDE_DAILY_EMAIL_LIMIT_REACHED": "quota",
    "OTHER_REQ_FIELD_MISSING": "prospect data",
    "PARDOT_MERGE_FIELD_RENDERING_ERROR": "template",
    "POST_SEND_EXCEPTION": "transient",
    "RETRIES_MAX_EXCEEDED": "transient",
    "RETRY_LATER": "transient",
    "SCHEDULED_EMAIL_FAILED": "unknown",
    "SENDER_MAILBOX_NOT_FOUND": "mailbox",
    "TARGET_DO_NOT_CONTACT_ON": "prospect data",
    "TARGET_EMAIL_BOUNCED": "prospect data",
    "TARGET_EMAIL_EMPTY": "prospect data",
    "TEMPLATE_DELETED": "template",
    "TEMPLATE_EMPTY": "template",
    "TEMPLATE_HAS_INVALID_MERGE_FIELD": "template",
    "TEMPLATE_MERGE_FIELD_RENDERING_ERROR": "template",
    "TEMPLATE_NOT_PUBLIC": "permission",
    "TEMPLATE_TOO_LARGE": "template",
    "UNKNOWN": "unknown",
    "USER_HAS_LOST_HVS_ACCESS": "permission",
    "USER_IS_INACTIVE": "permission",
}

PICKLISTS = {
    ("ActionCadenceTracker", "State"): TRACKER_STATES,
    ("ActionCadenceTracker", "CompletionReason"): TRACKER_REASONS,
    ("ActionCadenceTracker", "CompletionDisposition"): DISPOSITIONS,
    ("ActionCadenceTracker", "RelatedToAttributionType"): ATTRIBUTIONS,
    ("ActionCadenceStepTracker", "State"): STEP_STATES,
    ("ActionCadenceStepTracker", "CompletionReason"): STEP_REASONS,
    ("ActionCadenceStepTracker", "StepType"): STEP_TYPES,
    ("ActionCadenceStepTracker", "ErrorCode"): list(ERROR_CODES),
}
