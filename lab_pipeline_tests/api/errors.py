"""The one shape of errors."""


def error(answer, status, code):
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert set(document) == {"error"}
    assert set(document["error"]) == {"code", "message", "details", "requestId"}
    assert document["error"]["code"] == code
    assert document["error"]["requestId"] == answer.headers["x-request-id"]
    assert all(set(detail) == {"path", "message"} for detail in document["error"]["details"])
    return document["error"]
