"""What schemathesis cannot know of the API: how long to wait, and what no schema says."""

import re

import schemathesis

# Why a case that suits its schema is refused all the same, by what the answer says of it.
NO_SCHEMA_SAYS = [
    # A series is as long as the window and the bucket make it, and a window as old.
    r"points are more than",
    r"the window is not held that finely",
    r"this part of the past is held only as a total",
    # Two members that are compared with each other.
    r"from must be before to",
    # A length of a window, and an integer, are texts and numbers of any size for the schema of a plugin.
    r"is longer than all of time",
    r"neither an RFC 3339 time with zone nor Unix milliseconds",
]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Lets nothing wait for what does not come: that takes as long as it may, and its answer is the same."""
    if isinstance(case.query, dict) and re.fullmatch(r"\d+m?s", str(case.query.get("wait"))):
        case.query["wait"] = "20ms"
    body = case.body
    queries = body.get("queries") if isinstance(body, dict) else None
    for question in [body, *(queries if isinstance(queries, list) else [])]:
        if isinstance(question, dict) and "at_least" in question:
            wait = question.setdefault("wait_ms", 20)
            if type(wait) is int and wait > 20 and wait <= 30_000:
                question["wait_ms"] = 20


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure is one."""
    if failure.code == "ST202":
        # Refused although it suits the schema: all that is wrong with it is what no schema says.
        try:
            faults = response.json()["errors"]
            details = [fault["detail"] for fault in faults]
        except (ValueError, KeyError, TypeError):
            return True
        # Which plugins there are, and what they take, no schema says.
        if case.operation.path == "/api/sections/{name}":
            return False
        # Which params there are says the metric, whose own path has their schema.
        if "{name}" in case.operation.path:
            faults = [fault for fault in faults if not fault["pointer"].startswith("/params")]
            details = [fault["detail"] for fault in faults]
            if not details:
                return False
        # What fits a plugin, the plugin says.
        if case.operation.path == "/api/preview":
            faults = [fault for fault in faults if not fault["pointer"].startswith(("/config", "/params"))]
            details = [fault["detail"] for fault in faults]
            if not details:
                return False
        return not details or not all(any(re.search(one, detail) for one in NO_SCHEMA_SAYS) for detail in details)
    if failure.title == "SSE event violates schema":
        # In OpenAPI 3.1 the schema of a stream is that of its whole text, not of an event as the browser has it.
        return False
    if failure.code == "ST201" and isinstance(case.query, dict):
        # Taken although it does not suit the schema: a key of a query without a value counts as absent.
        return "" not in case.query.values()
    return True
