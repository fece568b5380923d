"""Failures as ClickHouse reports them over HTTP: a number, a message, a status."""

import re

MESSAGE = re.compile(r"Code: (\d+)\. (?:DB::)?Exception: ", re.DOTALL)

BAD_ARGUMENTS = 36
SYNTAX_ERROR = 62
NOT_IMPLEMENTED = 48
TOO_MANY_SIMULTANEOUS_QUERIES = 202
QUERY_IS_TOO_LARGE = 223
CANNOT_DECOMPRESS = 271
QUERY_WAS_CANCELLED = 394
UNKNOWN_ROLE = 511
AUTHENTICATION_FAILED = 516
ACCESS_DENIED = 497
UNKNOWN_EXCEPTION = 1002

IN_DEFAULT = (
    " The embedded server lets its user have its own tables, no files: those of `lab`, say; `default` has none."
)
STATUS_OF = {
    **dict.fromkeys((164, 192, 193, 452, ACCESS_DENIED, AUTHENTICATION_FAILED), 403),
    **dict.fromkeys((43, 46, 47, 50, 56, 60, 63, 73, 79, 81, 82, 115, UNKNOWN_ROLE), 404),
    **dict.fromkeys((6, 25, 26, 27, 33, 38, 41, 53, 72, 117, 130, 131, CANNOT_DECOMPRESS), 400),
    **dict.fromkeys((BAD_ARGUMENTS, SYNTAX_ERROR, 386, 427, 456, 457), 400),
    **dict.fromkeys((159, 160), 408),
    QUERY_IS_TOO_LARGE: 413,
    NOT_IMPLEMENTED: 501,
    TOO_MANY_SIMULTANEOUS_QUERIES: 503,
}
"""HTTP status of an error code, as the server's HTTP handler maps it; 500 for all others."""


class GatewayError(Exception):
    """An error with a ClickHouse code, found by the gateway or reported by the engine."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def from_engine(cls, error: Exception) -> "GatewayError":
        """Read code and message out of what chDB raises, without the prefix that its streaming calls add."""
        text = str(error)
        found = MESSAGE.search(text)
        if found is None:
            return cls(UNKNOWN_EXCEPTION, text)
        code, message = int(found.group(1)), text[found.end() :]
        return cls(code, message + IN_DEFAULT if code == ACCESS_DENIED and " ON FILE" in message else message)

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return STATUS_OF.get(self.code, 500)

    def body(self, version: str) -> str:
        """Return the text that clients parse."""
        suffix = "" if "(version " in self.message else f" (version {version})"
        return f"Code: {self.code}. DB::Exception: {self.message}{suffix}\n"
