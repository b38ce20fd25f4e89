"""What each kind of problem means and what to do about it: the words of the pages at `/problems`, and of the document.

The codes that no error of ours has yet belong to what is still to be built, or to GraphQL alone.
"""

from __future__ import annotations

from schema.engine.errors import DirectoryError

# Code, title, status (none where only GraphQL says so), meaning, and what to do about it.
PAGES: tuple[tuple[str, str, int | None, str, str], ...] = (
    (
        "BAD_REQUEST",
        "The request cannot be read",
        400,
        "It is no JSON, no UTF-8, a cursor that this list never gave, or a parameter that stands twice.",
        "Correct the spelling; the detail says where. Take a cursor from “next”, and keep sort and filters.",
    ),
    (
        "VALIDATION_FAILED",
        "The request is not valid",
        422,
        "It can be read and is wrong: a parameter or field that does not exist, or a value out of its bounds.",
        "Look at “errors”: each has a pointer into the body or the name of a parameter, and what would be right.",
    ),
    (
        "UNAUTHENTICATED",
        "Who is asking?",
        401,
        "There was no credential, or one that proves nothing: unknown, expired, revoked or forged.",
        "Send a valid one, as the header Authorization: Bearer ….",
    ),
    (
        "FORBIDDEN",
        "Not allowed",
        403,
        "It is known who asks, and they may not do this; or they filter or sort by a field that they may not see.",
        "Ask somebody who may, or ask for less.",
    ),
    (
        "NOT_FOUND",
        "Not found",
        404,
        "There is nothing at this address, or nothing that you may see.",
        "Check the id and the path; there is no slash at the end.",
    ),
    (
        "METHOD_NOT_ALLOWED",
        "Not with this method",
        405,
        "The address is right, but it does not know this method.",
        "Use one of the methods that the header Allow lists.",
    ),
    (
        "NOT_ACCEPTABLE",
        "No answer in that form",
        406,
        "The header Accept leaves out every form in which the answer is to be had.",
        "Accept application/json, or leave the header out.",
    ),
    (
        "REQUEST_TIMEOUT",
        "The request took too long to arrive",
        408,
        "Its headers or its body were not there in time.",
        "Send it again, in one go.",
    ),
    (
        "CONFLICT",
        "In conflict with what is stored",
        409,
        "Something that has to be unique is taken, or other records still refer to this one.",
        "Choose another value, or change the other record first.",
    ),
    (
        "VERSION_MISMATCH",
        "Changed in the meantime",
        412,
        "The record no longer has the version that If-Match (in GraphQL ifVersion) names.",
        "Read it again, look at what has changed, and decide anew.",
    ),
    (
        "PAYLOAD_TOO_LARGE",
        "The body is too large",
        413,
        "The body is larger than this server takes.",
        "Send less at a time.",
    ),
    (
        "URI_TOO_LONG",
        "The URL is too long",
        414,
        "The URL is longer than this server takes.",
        "Ask for fewer values at a time, or ask GraphQL, which takes them in a body.",
    ),
    (
        "NOT_IMPLEMENTED",
        "Not spoken here",
        501,
        "It is a part of HTTP that this server does not know: a transfer coding besides chunked, or CONNECT.",
        "Send the body as it is, or chunked, and ask for a path.",
    ),
    (
        "HTTP_VERSION_NOT_SUPPORTED",
        "Not in that version of HTTP",
        505,
        "This server speaks HTTP/1.1; HTTP/2 and HTTP/3 are for the proxy in front of it.",
        "Ask in HTTP/1.1, which every client can.",
    ),
    (
        "UNSUPPORTED_MEDIA_TYPE",
        "No body in that form",
        415,
        "The body is in a form, or in an encoding, that is not read here.",
        "Send JSON in UTF-8 and say so in Content-Type; the header Accept-Post or Accept-Patch lists what is taken.",
    ),
    (
        "IDEMPOTENCY_MISMATCH",
        "Another request under the same key",
        422,
        "The Idempotency-Key has been used before, for a request that said something else.",
        "Take a new key for a new request, and keep the old one only to send the same again.",
    ),
    (
        "IDEMPOTENCY_IN_PROGRESS",
        "The same request is under way",
        409,
        "A request with this Idempotency-Key has come in and is not finished.",
        "Wait a moment and send it again: the answer of the first will come.",
    ),
    (
        "RATE_LIMITED",
        "Too many requests",
        429,
        "You have asked too often of late.",
        "Wait as many seconds as the header Retry-After says.",
    ),
    (
        "HEADERS_TOO_LARGE",
        "The headers are too large",
        431,
        "The headers together are larger than this server takes.",
        "Send fewer or shorter ones; a cookie is the usual cause, and none is needed here.",
    ),
    (
        "QUERY_TOO_COMPLEX",
        "Too much for one request",
        400,
        "The body has too many values, or the query is nested too deeply, asks too much at once, or could bring back "
        "too many records.",
        "Ask for less at a time: fewer values, smaller pages, fewer levels.",
    ),
    (
        "INTERNAL",
        "Something went wrong",
        500,
        "The fault is this server's, and its log knows the cause.",
        "Tell whoever runs the server the request id. Sending the same again may or may not help.",
    ),
    (
        "OVERLOADED",
        "Too busy",
        503,
        "More requests are waiting than this server can answer in good time.",
        "Wait as many seconds as the header Retry-After says, and send it again.",
    ),
    (
        "DB_UNAVAILABLE",
        "The database is not available",
        503,
        "The database cannot be reached, or is locked or full.",
        "Wait as many seconds as the header Retry-After says, and send it again. Nothing was changed.",
    ),
    (
        "TIMEOUT",
        "Out of time",
        503,
        "The answer was not there in time.",
        "Ask for less, or wait as many seconds as the header Retry-After says and send it again.",
    ),
    (
        "GRAPHQL_PARSE_FAILED",
        "Not GraphQL",
        None,
        "The document is not GraphQL: a bracket or a name is not where it belongs.",
        "Look at “locations” in the error.",
    ),
    (
        "GRAPHQL_VALIDATION_FAILED",
        "Not a query for this schema",
        None,
        "The document is GraphQL, but does not fit the schema: a field, an argument or a variable is amiss.",
        "Look at “locations” in the error; GraphiQL, at /graphql, completes names and shows the schema.",
    ),
)
_MEANINGS = {code: meaning for code, _, _, meaning, _ in PAGES}


def meaning_of(error: type[DirectoryError]) -> str:
    """What an error means: in the words of its page or, for one that is an endpoint's own, of its docstring."""
    return _MEANINGS.get(error.code) or (error.__doc__ or "").strip()
