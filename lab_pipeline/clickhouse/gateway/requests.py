"""What an HTTP request asks for: statement, settings, parameters, external tables."""

import base64
import binascii
import email
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl
from uuid import uuid4

from lab_pipeline.clickhouse.gateway.engine import ExternalTable
from lab_pipeline.clickhouse.gateway.errors import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    UNKNOWN_ROLE,
    GatewayError,
)

PARAMETER = "param_"
RESERVED = frozenset(
    {
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key", "stacktrace"),
        *("session_id", "session_timeout", "session_check", "close_session", "role", "client_protocol_version"),
        *("wait_end_of_query", "buffer_size", "compress", "decompress", "enable_http_compression"),
        *("http_zlib_compression_level", "send_progress_in_http_headers", "http_headers_progress_interval_ms"),
        *("cancel_http_readonly_queries_on_client_close", "add_http_cors_header"),
    }
)
"""What a URL may say that is not a setting of the engine."""
EXTERNAL = ("structure", "types", "format")


@dataclass(frozen=True)
class Credentials:
    """The one user that the server knows.

    Raises:
        ValueError: for no password, which every request would bring.
    """

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.password:
            raise ValueError("a server without a password would be open to everybody")


@dataclass(frozen=True)
class Request:
    """A request, apart from its body.

    Attributes:
        query: the statement's beginning, from the URL or a form; the body follows it.
        query_id: the client's, or a new one.
        database: the current one, if named.
        default_format: output format of statements that name none.
        wait: hold the result back until it is whole, so that errors get their status.
        settings: for the engine.
        parameters: of the statement, escaped as they came.
        external: external tables announced in the URL: name -> its attributes.
    """

    query: str
    query_id: str
    database: str | None
    default_format: str
    wait: bool
    settings: dict[str, str]
    parameters: dict[str, str]
    external: dict[str, dict[str, str]]


def read_request(method: str, query_string: bytes, headers: Mapping[str, str]) -> Request:
    """Read URL and headers.

    Raises:
        GatewayError: for what this server cannot do and must not ignore.
    """
    url = _read_url(query_string)
    for name in ("compress", "decompress"):
        if url.get(name, "0") not in ("", "0", "false"):
            raise GatewayError(NOT_IMPLEMENTED, f"{name}=1 (ClickHouse's own blocks): use the HTTP Content-Encoding")
    if "role" in url:
        raise GatewayError(UNKNOWN_ROLE, f"There is no role `{url['role']}`: the embedded server has no roles")
    external = _announced(url)
    settings = {
        name: value
        for name, value in url.items()
        if name not in RESERVED and not name.startswith(PARAMETER) and name.rpartition("_")[0] not in external
    }
    readonly = settings.pop("readonly", "0")
    if method == "GET" and readonly == "0":
        readonly = "2"
    if readonly != "0":
        settings["readonly"] = readonly  # the last one: nothing can be set after it
    return Request(
        query=url.get("query", ""),
        query_id=url.get("query_id") or str(uuid4()),
        database=url.get("database") or headers.get("x-clickhouse-database"),
        default_format=url.get("default_format") or headers.get("x-clickhouse-format") or "TabSeparated",
        wait=url.get("wait_end_of_query", "0") not in ("", "0", "false"),
        settings=settings,
        parameters=parameters_of(url),
        external=external,
    )


def _read_url(query_string: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(query_string.decode("ascii"), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError as error:
        raise GatewayError(BAD_ARGUMENTS, f"The URL is not UTF-8: {error}") from None


def parameters_of(fields: Mapping[str, str]) -> dict[str, str]:
    """Pick the statement's parameters out of URL or form fields."""
    return {name.removeprefix(PARAMETER): value for name, value in fields.items() if name.startswith(PARAMETER)}


def _announced(url: Mapping[str, str]) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    named = {name.removesuffix(end) for name in url for end in ("_structure", "_types") if name.endswith(end)}
    for name in named - {PARAMETER.rstrip("_")}:
        tables[name] = {key: url[f"{name}_{key}"] for key in EXTERNAL if f"{name}_{key}" in url}
    return tables


@dataclass(frozen=True)
class Form:
    """The parts of a multipart body: text fields and files, by name."""

    fields: dict[str, str]
    files: dict[str, bytes]


def read_form(content_type: str, body: bytes) -> Form:
    """Take a multipart/form-data body apart.

    Raises:
        GatewayError: if it is not one.
    """
    boundary = email.message_from_string(f"Content-Type: {content_type}\n\n").get_param("boundary")
    if not isinstance(boundary, str):
        raise GatewayError(BAD_ARGUMENTS, "A multipart body needs a boundary in its Content-Type")
    form = Form({}, {})
    # The delimiter begins with the line end before it; RFC 2046 forbids it inside a part.
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode())[1:]:
        if part.startswith(b"--"):
            return form
        head, separator, data = part.partition(b"\r\n\r\n")
        message = email.message_from_bytes(head.strip())
        name = message.get_param("name", header="content-disposition")
        if not separator or not isinstance(name, str):
            raise GatewayError(BAD_ARGUMENTS, "A part of the multipart body has no name")
        if message.get_filename() is None:
            form.fields[name] = data.decode(errors="replace")
        else:
            form.files[name] = data
    raise GatewayError(BAD_ARGUMENTS, "The multipart body has no end")


def external_tables(announced: Mapping[str, Mapping[str, str]], form: Form) -> list[ExternalTable]:
    """Match announced external tables with the files that hold their rows.

    Raises:
        GatewayError: if one has no file, or a file belongs to none.
    """
    if missing := sorted(announced.keys() ^ form.files.keys()):
        raise GatewayError(BAD_ARGUMENTS, f"External table `{missing[0]}` needs a structure in the URL and a file")
    return [
        ExternalTable(
            name=name,
            structure=attributes.get("structure") or _structure(attributes["types"]),
            format=attributes.get("format", "TabSeparated"),
            data=form.files[name],
        )
        for name, attributes in announced.items()
    ]


def _structure(types: str) -> str:
    depth, columns = 0, [""]
    for sign in types:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and depth == 0:
            columns.append("")
        else:
            columns[-1] += sign
    return ", ".join(f"_{number} {kind.strip()}" for number, kind in enumerate(columns, start=1))


def check_credentials(expected: Credentials, query_string: bytes, headers: Mapping[str, str]) -> None:
    """Compare what a request brings with the one user, in constant time.

    Raises:
        GatewayError: AUTHENTICATION_FAILED.
    """
    username, password = _given(expected.username, query_string, headers)
    known = hmac.compare_digest(username.encode(), expected.username.encode())
    if not (hmac.compare_digest(password.encode(), expected.password.encode()) and known):
        raise GatewayError(
            AUTHENTICATION_FAILED,
            f"{username}: Authentication failed: password is incorrect, or there is no user with such name.",
        )


def _given(default: str, query_string: bytes, headers: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return default, token
    if scheme.lower() == "basic":
        try:
            username, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return username, password
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", default), headers.get("x-clickhouse-key", "")
    url = _read_url(query_string)
    return url.get("user", default), url.get("password", "")
