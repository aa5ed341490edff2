"""`extensions.code` of everything this package refuses itself; the store's refusals bring their own.

All of them stand in docs/graphql-api.md, and a test holds that list to this one.
"""

from enum import StrEnum


class Code(StrEnum):
    BAD_REQUEST = "BAD_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    SUBSCRIPTION_TRANSPORT = "SUBSCRIPTION_TRANSPORT"
    OPERATION_NOT_FOUND = "OPERATION_NOT_FOUND"
    TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    PLACEMENT_IMPOSSIBLE = "PLACEMENT_IMPOSSIBLE"
    INTERNAL = "INTERNAL"
