"""What the one user of the embedded server may do: everything within the store, nothing outside of it.

Three walls, because none covers everything: the engine's own grants and constraints; a look at the text for what chDB
does without asking for a grant; and Landlock (see `confinement`), where the kernel has it.
"""

import re
from collections.abc import Iterable

from lab_pipeline.clickhouse.gateway.errors import ACCESS_DENIED, GatewayError

USERS_FILE = "users.xml"
RIGHTS = (
    (
        "SHOW DATABASES, SHOW TABLES, SHOW COLUMNS, CHECK, SELECT, INSERT, TRUNCATE, OPTIMIZE, CREATE DATABASE, "
        "CREATE TABLE, CREATE VIEW, DROP DATABASE, DROP TABLE, DROP VIEW, ALTER UPDATE, ALTER DELETE, ALTER COLUMN, "
        "ALTER MODIFY COMMENT, ALTER INDEX, ALTER STATISTICS, ALTER PROJECTION, ALTER CONSTRAINT, ALTER TTL, "
        "ALTER MATERIALIZE TTL, ALTER SETTINGS, ALTER VIEW"
    ),
    "CREATE TEMPORARY TABLE, KILL QUERY",
)
ENGINES = (
    *("MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree", "CoalescingMergeTree"),
    *("CollapsingMergeTree", "VersionedCollapsingMergeTree", "Memory", "Null", "View", "MaterializedView"),
)
FIXED = {
    "allow_python_table_function": "0",
    "allow_introspection_functions": "0",
    "allow_experimental_eval_table_function": "0",
    **dict.fromkeys(("dynamic_disk_allow_from_env", "dynamic_disk_allow_include", "dynamic_disk_allow_from_zk"), "0"),
}
"""Settings that stay as they are here."""
CONSTANT = (
    *("format_schema", "format_schema_source", "output_format_schema", "format_template_row"),
    *("format_template_resultset", "format_avro_schema_registry_url", "input_format_record_errors_file_path"),
    *("merge_tree_disk", "merge_tree_table_disk", "merge_tree_storage_policy", "dialect"),
)
"""Settings that name files or addresses, or another language than SQL; they keep their default."""

OUTSIDE = re.compile(
    r"\b(?:OUTFILE|INFILE)\b"  # chDB does itself what the command line client would do
    r"|\bfile[`\"\u201d]?(?:\s|/\*.*?\*/|--[^\n]*\n)*\("  # the function, of which it asks for no grant
    r"|\b(?:EmbeddedRocksDB|FileLog|Executable|ExecutablePool|Python)\b(?=[\s`\"\u201d]*(?:\(|;|$|SETTINGS\b))",
    re.IGNORECASE | re.DOTALL,
)
ESCAPED = re.compile(r"\\x([0-9A-Fa-f]{2})")
FILE = re.compile(r"\bfile\b")
UNKNOWN_STATEMENTS = frozenset({b"\\", b"SYSTEM"})
"""A backslash begins what chDB takes for a command to itself, such as to run a file."""


def users_config() -> str:
    """Return the engine's configuration of its one user."""
    grants = [f"GRANT {rights} ON *.*" for rights in RIGHTS] + [f"GRANT TABLE ENGINE ON {name}" for name in ENGINES]
    queries = "".join(f"<query>{grant}</query>" for grant in grants)
    values = "".join(f"<{name}>{value}</{name}>" for name, value in FIXED.items())
    constraints = "".join(f"<{name}><const/></{name}>" for name in (*FIXED, *CONSTANT))
    return f"""\
<clickhouse>
    <profiles><default>{values}<constraints>{constraints}</constraints></default></profiles>
    <quotas><default/></quotas>
    <users><default>
        <password></password>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <grants>{queries}</grants>
    </default></users>
</clickhouse>
"""


def require_inside(first_word: bytes, texts: Iterable[str], *, confined: bool) -> None:
    """Refuse what reaches out of the store without the engine's asking for a grant.

    The texts are not taken apart, since what looks like a quotation may not be one to the engine: words count wherever
    they stand. A value that holds one is given as a parameter, or as a row of an INSERT with a FORMAT.

    Args:
        first_word: of the statement.
        texts: the statement, and every other text of the request that the engine parses as SQL.
        confined: whether the kernel keeps the process from other files anyway.

    Raises:
        GatewayError: ACCESS_DENIED.
    """
    if first_word in UNKNOWN_STATEMENTS:
        raise _denied(first_word.decode())
    for text in texts:
        plain = ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), text)
        found = OUTSIDE.search(plain) or (None if confined else FILE.search(plain))
        if found:
            raise _denied(found.group().split("(")[0].strip('`"\u201d \t\r\n'))


def _denied(what: str) -> GatewayError:
    return GatewayError(
        ACCESS_DENIED,
        f"default: Not enough privileges. `{what}` reaches outside the store, which is off for the user of the "
        "embedded server; text that only looks like it goes into a parameter. (ACCESS_DENIED)",
    )
