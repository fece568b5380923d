"""The right password opens the store and nothing outside of it: no file, address or secret of this machine."""

import socket
import threading
from pathlib import Path

import pytest

from lab_pipeline.clickhouse.gateway import confinement
from lab_pipeline.clickhouse.gateway.errors import ACCESS_DENIED, GatewayError
from lab_pipeline.clickhouse.gateway.launch import lease_server
from lab_pipeline.clickhouse.gateway.permissions import require_inside

SECRET = "the-secret-of-this-test"  # noqa: S105 - of a file
DISK = "disk(type='local', path='{directory}/disk/')"
BLOBS = "disk(type='object_storage', object_storage_type='local', metadata_type='local', path='{directory}/blobs/')"

READING = [
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT file('{secret}')",
    "SELECT `file`('{secret}')",
    r"SELECT `f\x69le`('{secret}')",
    "SELECT “file”('{secret}')",
    "SELECT file /* ( */ ('{secret}')",
    "SELECT arrayMap(file, ['{secret}'])",
    "SELECT * APPLY(file) FROM (SELECT '{secret}')",
    "SELECT * APPLY file FROM (SELECT '{secret}')",
    "SELECT $$'$$, file('{secret}')",
    "SELECT /* /* */ ' */ file('{secret}')",
    """SELECT * FROM format(JSONEachRow, 'a String, b String DEFAULT file(a)', '{{"a": "{secret}"}}')""",
    "SELECT * FROM fileCluster('default', '{secret}', 'LineAsString')",
    "SELECT * FROM default.`{secret}`",
    "SELECT content FROM filesystem('{directory}')",
    "SELECT * FROM view(SELECT * FROM file('{secret}', 'LineAsString'))",
    "SELECT * FROM loop(file('{secret}', 'LineAsString')) LIMIT 1",
    "SELECT * FROM eval('SELECT * FROM fi'||'le(''{secret}'', ''LineAsString'')')",
    "SELECT * FROM url('file://{secret}', 'LineAsString')",
    "SELECT * FROM executable('cat', 'LineAsString', 'a String', (SELECT 1))",
    "SELECT * FROM sqlite('{secret}', 'a')",
    "SELECT * FROM deltaLakeLocal('{directory}')",
    "SELECT * FROM icebergLocal('{directory}')",
    "SELECT * FROM Python(settings)",
    "DESCRIBE TABLE file('{secret}')",
    "EXPLAIN SELECT * FROM file('{secret}', 'LineAsString')",
    r"\i {secret}",
    "INSERT INTO notes FROM INFILE '{secret}' FORMAT LineAsString",
    "INSERT INTO notes SELECT * FROM file('{secret}', 'LineAsString')",
    "CREATE VIEW spy AS SELECT * FROM file('{secret}', 'LineAsString')",
    "CREATE TABLE spy ENGINE = Memory AS SELECT * FROM file('{secret}', 'LineAsString')",
    "CREATE TABLE spy (a String) ENGINE = File(LineAsString, '{secret}')",
    "CREATE TEMPORARY TABLE spy (a String) ENGINE = File(LineAsString, '{secret}')",
    "CREATE TABLE spy (a String) ENGINE = FileLog('{directory}', 'LineAsString')",
    "CREATE TABLE spy (a String) ENGINE = Executable('cat', 'LineAsString')",
    "CREATE TABLE spy ENGINE = Python(settings)",
    "CREATE DATABASE spy ENGINE = Filesystem('{directory}')",
    "CREATE DATABASE spy ENGINE = SQLite('{secret}')",
    "CREATE DATABASE spy ENGINE = Backup('spy', File('{directory}'))",
    (
        "CREATE DICTIONARY spy (a UInt64, b String) PRIMARY KEY a"
        " SOURCE(FILE(path '{secret}' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)"
    ),
    (
        "CREATE DICTIONARY spy (a UInt64, b String) PRIMARY KEY a"
        " SOURCE(EXECUTABLE(command 'cat {secret}' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)"
    ),
    "RESTORE TABLE notes FROM File('{directory}')",
    "ATTACH TABLE spy FROM '{directory}' (a String) ENGINE = File(LineAsString)",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{secret}'",
    "SELECT 1 FORMAT Protobuf SETTINGS format_schema = '{secret}:A'",
    "SELECT * FROM format(Template, 'a String', 'a') SETTINGS format_template_row = '{secret}'",
]
WRITING = [
    "SELECT 1 INTO OUTFILE '{directory}/new'",
    "SELECT 1 INTO /* a */ OUTFILE '{directory}/new' FORMAT CSV",
    "INSERT INTO FUNCTION file('{directory}/new', 'CSV', 'a Int32') VALUES (1)",
    "CREATE TABLE spy (a String, b String) ENGINE = EmbeddedRocksDB(0, '{directory}/new') PRIMARY KEY a",
    f"CREATE TABLE spy (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = {DISK}",
    f"CREATE TABLE spy (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = {BLOBS}",
    f"CREATE TABLE spy (a String) ENGINE = MergeTree ORDER BY a SETTINGS table_disk = 1, disk = {DISK}",
    f"CREATE DATABASE spy ENGINE = Atomic SETTINGS disk = {DISK}",
    f"ALTER TABLE notes MODIFY SETTING disk = {DISK}",
    "BACKUP TABLE notes TO File('{directory}/new')",
    "BACKUP TABLE notes TO Disk('default', 'new')",
    "SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '{directory}/new'",
    (
        "SELECT * FROM format(CSV, 'a Int32', 'x') SETTINGS input_format_allow_errors_num = 9,"
        " input_format_record_errors_file_path = '{directory}/new'"
    ),
]
CALLING = [
    "SELECT * FROM url('http://{address}/a', 'LineAsString')",
    "INSERT INTO FUNCTION url('http://{address}/a', 'CSV', 'a String') VALUES ('a')",
    "SELECT * FROM s3('http://{address}/bucket/a', 'CSV', 'a String')",
    "SELECT * FROM gcs('http://{address}/bucket/a', 'CSV', 'a String')",
    "SELECT * FROM azureBlobStorage('http://{address}/a', 'c', 'b', 'n', 'a2V5', 'CSV', 'auto', 'a String')",
    "SELECT * FROM hdfs('hdfs://{address}/a', 'CSV', 'a String')",
    "SELECT * FROM remote('{address}', 'system', 'one')",
    "SELECT * FROM remoteSecure('{address}', 'system', 'one')",
    "SELECT * FROM mysql('{address}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('{address}', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('{address}', 'a', 'b', 'c', 'd', 'a String')",
    "SELECT * FROM redis('{address}', 'a', 'a String, b String')",
    "SELECT * FROM odbc('DSN=a', 'b', 'c')",
    "SELECT * FROM jdbc('jdbc:a', 'b', 'c')",
    "SELECT * FROM ytsaurus('http://{address}', '//a', 'b', 'a String')",
    "CREATE TABLE spy (a String) ENGINE = URL('http://{address}/a', CSV)",
    "CREATE TABLE spy (a String) ENGINE = S3('http://{address}/bucket/a', 'CSV')",
    "CREATE TABLE spy (a String) ENGINE = Kafka('{address}', 't', 'g', 'CSV')",
    "CREATE TABLE spy (a String) ENGINE = Distributed('default', 'system', 'one')",
    (
        "CREATE TABLE spy (a String) ENGINE = MergeTree ORDER BY a"
        " SETTINGS disk = disk(type='web', endpoint='http://{address}/')"
    ),
    "CREATE DATABASE spy ENGINE = MySQL('{address}', 'a', 'b', 'c')",
    "CREATE DATABASE spy ENGINE = PostgreSQL('{address}', 'a', 'b', 'c')",
    "CREATE DATABASE spy ENGINE = URL('http://{address}/')",
    "CREATE DATABASE spy ENGINE = S3('http://{address}/bucket')",
    "CREATE DATABASE spy ENGINE = Remote('{address}', 'system', 'default', '')",
    (
        "CREATE DICTIONARY spy (a UInt64, b String) PRIMARY KEY a"
        " SOURCE(HTTP(url 'http://{address}/' format 'CSV')) LAYOUT(FLAT()) LIFETIME(0)"
    ),
    "BACKUP TABLE notes TO S3('http://{address}/bucket', 'a', 'b')",
    (
        "SELECT * FROM format(AvroConfluent, 'a String', 'aaaaaaaa')"
        " SETTINGS format_avro_schema_registry_url = 'http://{address}'"
    ),
]
RULING = [
    "SYSTEM STOP MERGES",
    "SYSTEM DROP MARK CACHE",
    "SYSTEM SHUTDOWN",
    "SYSTEM START LISTEN HTTP",
    "CREATE FUNCTION spy AS (x) -> x",
    "CREATE NAMED COLLECTION spy AS a = 1",
    "CREATE USER spy",
    "CREATE ROLE spy",
    "GRANT SOURCES ON *.* TO default",
    "CREATE ROW POLICY spy ON notes USING 1",
    "CREATE WORKLOAD spy",
    "SHOW CREATE USER default",
    "SELECT * FROM system.users",
    "SELECT * FROM system.symbols LIMIT 1",
    "SELECT demangle('a')",
    "SET allow_python_table_function = 1",
    "SELECT 1 SETTINGS allow_experimental_eval_table_function = 1",
    "SELECT 1 SETTINGS merge_tree_disk = 'a'",
    "ALTER TABLE notes FREEZE",
]
ALLOWED = [
    "INSERT INTO notes (a) VALUES ('a')",
    "ALTER TABLE notes ADD COLUMN b UInt8",
    "ALTER TABLE notes MODIFY TTL t + INTERVAL 1 DAY",
    "ALTER TABLE notes DELETE WHERE a = 'b' SETTINGS mutations_sync = 1",
    "DELETE FROM notes WHERE a = 'b'",
    "OPTIMIZE TABLE notes FINAL",
    "CREATE TABLE more (a String) ENGINE = ReplacingMergeTree ORDER BY a",
    "CREATE TEMPORARY TABLE more (a String)",
    "CREATE VIEW seen AS SELECT * FROM notes",
    "CREATE MATERIALIZED VIEW kept ENGINE = SummingMergeTree ORDER BY a AS SELECT a FROM notes",
    "RENAME TABLE notes TO notices",
    "TRUNCATE TABLE notes",
    "SELECT a FROM notes WHERE a ILIKE '%some file of mine%'",
    "SELECT count() FROM system.errors",
    "SELECT name FROM system.tables",
    "SELECT * FROM numbers(3)",
    "SELECT * FROM format(CSV, 'a Int32', '1')",
    "SHOW CREATE TABLE notes",
    "CHECK TABLE notes",
    "KILL QUERY WHERE query_id = 'none'",
]


@pytest.fixture
def outside(tmp_path, embedded):  # noqa: ARG001 - of the embedded server only
    """A secret file, its directory, and an address that counts who calls."""
    (tmp_path / "secret.csv").write_text(f"{SECRET}\n")
    return {"secret": tmp_path / "secret.csv", "directory": tmp_path}


@pytest.fixture
def notes(http):
    assert http("CREATE TABLE notes (a String, t DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY a").status == 200


def refused(answer):
    text = answer.data.decode(errors="replace")
    assert answer.status >= 400, text
    assert text.startswith("Code: ")
    assert "DB::Exception: " in text
    assert SECRET not in text
    return text


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("statement", READING)
def test_no_file_is_read(statement, http, outside):
    refused(http(statement.format(**outside)))


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("statement", WRITING)
def test_no_file_is_written(statement, http, outside):
    refused(http(statement.format(**outside)))

    assert [path.name for path in outside["directory"].iterdir()] == ["secret.csv"]


@pytest.mark.usefixtures("notes", "embedded")
@pytest.mark.parametrize("statement", CALLING)
def test_nobody_is_called(statement, http):
    called = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        done = threading.Event()

        def count():
            while not done.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                called.append(1)
                connection.close()

        waiting = threading.Thread(target=count)
        waiting.start()
        try:
            refused(http(statement.format(address="{}:{}".format(*server.getsockname()))))
        finally:
            done.set()
            waiting.join()
    assert not called


@pytest.mark.usefixtures("notes", "embedded")
@pytest.mark.parametrize("statement", RULING)
def test_the_server_itself_is_out_of_reach(statement, http):
    refused(http(statement))


@pytest.mark.usefixtures("notes", "embedded")
@pytest.mark.parametrize("statement", ALLOWED)
def test_the_store_itself_is_open(statement, http):
    answer = http(statement)

    assert answer.status == 200, answer.data


@pytest.mark.usefixtures("notes")
def test_settings_and_structures_of_a_request_open_nothing(http, outside):
    secret = outside["secret"]
    refused(http("SELECT 1 AS a FORMAT Template", format_template_row=secret))
    refused(http("SELECT * FROM notes", select=f"file('{secret}')"))
    refused(http("SELECT 1", additional_result_filter=f"throwIf(length(file('{secret}')) > 0)"))
    fields = {"brought": ("brought", b'{"a": "%s"}' % str(secret).encode())}
    structure = {"brought_structure": "a String, b String DEFAULT file(a)", "brought_format": "JSONEachRow"}
    refused(http("SELECT * FROM brought", fields=fields, **structure))


@pytest.mark.usefixtures("embedded")
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/proc/self/maps"])
def test_no_file_of_the_system_is_read(path, http):
    for statement in (f"SELECT arrayMap(file, ['{path}'])", f"SELECT * FROM file('{path}', 'LineAsString')"):  # noqa: S608
        text = refused(http(statement))
        assert "root:" not in text
        assert "PATH=" not in text


def test_what_the_engine_is_not_asked_for_is_refused_without_landlock():
    for statement in ("SELECT arrayMap(file, ['a'])", r"SELECT `\x66ile`('a')", "SELECT * APPLY(file)"):
        with pytest.raises(GatewayError) as refusal:
            require_inside(b"SELECT", [statement], confined=False)
        assert refusal.value.code == ACCESS_DENIED
    require_inside(b"SELECT", ["SELECT profile, files FROM runs"], confined=False)


def test_a_kernel_without_landlock_is_no_error(monkeypatch):
    monkeypatch.setattr(confinement, "CREATE_RULESET", 100_000)

    assert confinement.confine([], []) is False


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system shows no environments")
def test_the_server_knows_no_secret_of_the_lab(own_server, monkeypatch):
    monkeypatch.setenv("LAB_API_TOKEN", SECRET)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)

    with lease_server(own_server) as lease:
        assert SECRET.encode() not in Path(f"/proc/{lease.endpoint.pid}/environ").read_bytes()
