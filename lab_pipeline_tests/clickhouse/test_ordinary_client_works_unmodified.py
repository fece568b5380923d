"""Everything that the lab asks of a ClickHouse, through the ordinary client."""

import threading
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Address
from uuid import UUID

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123000, tzinfo=UTC)
VALUES = [
    ("Int8", -5),
    ("UInt64", 2**64 - 1),
    ("Int128", -(2**100)),
    ("Float32", 0.5),
    ("Float64", 1.1),
    ("Bool", True),
    ("String", "tab\tquote'back\\slash\nline é"),
    ("FixedString(3)", b"abc"),
    ("LowCardinality(String)", "low"),
    ("Nullable(Float64)", None),
    ("Nullable(String)", "there"),
    ("Date", date(2026, 3, 1)),
    ("DateTime64(3, 'UTC')", MOMENT),
    ("DateTime64(6, 'UTC')", MOMENT.replace(microsecond=123456)),
    ("Decimal(18, 4)", Decimal("12.3456")),
    ("UUID", UUID("5f0c3c0e-0000-4000-8000-000000000001")),
    ("IPv4", IPv4Address("10.0.0.1")),
    ("Enum8('buy' = 1, 'sell' = 2)", "sell"),
    ("Array(String)", ["a", "b'c"]),
    ("Array(Nullable(Int32))", [1, None]),
    ("Map(String, String)", {"k": "v", "quote'": "x"}),
    ("Tuple(Int32, String)", (1, "x")),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[kind for kind, _ in VALUES])
def test_every_type_comes_back_as_it_went(address, database, kind, value):
    client = clickhouse_connect.get_client(**address, database=database, tz_mode="schema")
    client.command(f"CREATE TABLE t (n Int8, v {kind}) ENGINE = MergeTree ORDER BY n")
    client.insert("t", [[1, value]], column_names=["n", "v"])
    assert client.query("SELECT v FROM t").result_rows == [(value,)]


BOUND = (
    "Int8",
    "UInt64",
    "Float64",
    "Bool",
    "String",
    "Nullable(String)",
    "DateTime64(3, 'UTC')",
    "Array(String)",
    "UUID",
)


@pytest.mark.parametrize(("kind", "value"), [case for case in VALUES if case[0] in BOUND])
def test_values_of_every_type_that_is_bound_arrive(address, kind, value):
    client = clickhouse_connect.get_client(**address, tz_mode="schema")
    assert client.query(f"SELECT {{v:{kind}}}", parameters={"v": value}).result_rows == [(value,)]


def test_parameters_are_bound_not_formatted(client):
    text = "'; DROP TABLE t; -- {x:Int8} \\ \t\n"
    assert client.query("SELECT {v:String}", parameters={"v": text}).result_rows == [(text,)]


def test_long_parameters_travel_in_a_form(client):
    names = [f"run-{number}" for number in range(20_000)]
    assert client.query("SELECT length({v:Array(String)})", parameters={"v": names}).result_rows == [(20_000,)]


def test_identifiers_can_be_parameters(client):
    client.command("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")
    client.insert("t", [[7]], column_names=["a"])
    assert client.query("SELECT * FROM {name:Identifier}", parameters={"name": "t"}).result_rows == [(7,)]


def test_a_million_rows_in_and_out(client):
    client.command("CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n")
    numbers = list(range(1_000_000))
    summary = client.insert("t", [numbers, [str(n) for n in numbers]], column_names=["n", "s"], column_oriented=True)
    assert summary.written_rows == 1_000_000
    assert client.query("SELECT n, s FROM t ORDER BY n").result_columns[0] == numbers


def test_row_blocks_stream(client):
    rows = 0
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as stream:
        for block in stream:
            rows += len(block)
    assert rows == 500_000


def test_an_error_in_the_middle_of_a_stream_is_raised(client):
    sql = "SELECT throwIf(number = 3000000, 'too far') FROM numbers(4000000) SETTINGS max_threads = 1"
    with client.query_row_block_stream(sql) as stream, pytest.raises(DatabaseError, match="too far"):
        for _ in stream:
            pass


def test_raw_formats_both_ways(client):
    client.command("CREATE TABLE t (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    client.raw_insert("t", ["a", "b"], b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n', fmt="JSONEachRow")
    client.raw_insert("t", insert_block=b"3\tz\n", fmt="TabSeparated")
    client.raw_insert("t", ["a", "b"], iter([b"4,", b"w\n", b"5,v\n"]), fmt="CSV")
    assert client.raw_query("SELECT b FROM t ORDER BY a", fmt="TSV") == b"x\ny\nz\nw\nv\n"
    assert client.raw_query("SELECT a FROM t WHERE a > 9", fmt="JSONEachRow") == b""
    assert client.raw_stream("SELECT a FROM t ORDER BY a", fmt="CSV").read() == b"1\n2\n3\n4\n5\n"


def test_an_empty_arrow_result_keeps_its_schema(client):
    pl = pytest.importorskip("polars")
    frame = pl.read_ipc_stream(client.raw_query("SELECT 1 AS a, 'x' AS b WHERE 0", fmt="ArrowStream"))
    assert frame.columns == ["a", "b"]
    assert frame.height == 0


def test_commands_answer(client):
    assert client.command("SELECT 5") == 5
    assert client.command("SELECT 'x' WHERE 0") == ""
    assert client.command("EXISTS TABLE nowhere") == 0
    client.command("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
    assert client.command("INSERT INTO t VALUES (1), (2), ({x:Int32})", parameters={"x": 3}).written_rows == 3
    assert client.command("INSERT INTO t SELECT number FROM numbers(5)").written_rows == 5
    assert client.command("SELECT count() FROM t") == 8
    assert client.query("SHOW TABLES").result_rows == [("t",)]
    assert client.query("DESCRIBE TABLE t").result_rows[0][:2] == ("a", "Int32")
    client.command("ALTER TABLE t DELETE WHERE a = 1", settings={"mutations_sync": 1})
    client.command("TRUNCATE TABLE t")
    assert client.command("SELECT count() FROM t") == 0


def test_settings_apply_to_their_request(client):
    assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 3}).result_rows == [(3,)]
    with pytest.raises(DatabaseError) as caught:
        client.command(
            "SELECT sleep(3)", settings={"max_execution_time": 1, "function_sleep_max_microseconds_per_block": 0}
        )
    assert caught.value.code == 159


def test_external_data_is_a_table_of_the_request(client):
    external = ExternalData(
        file_name="wanted.csv", data=b"2,two\r\n3,thr\xc3\xa9e\n", fmt="CSV", structure="n UInt8, s String"
    )
    rows = client.query("SELECT n, s FROM wanted ORDER BY n", external_data=external).result_rows
    assert rows == [(2, "two"), (3, "thrée")]
    with pytest.raises(DatabaseError):
        client.query("SELECT * FROM wanted")


def test_errors_have_clickhouses_codes(client):
    for code, sql in (
        (62, "SELEC 1"),
        (60, "SELECT * FROM nowhere"),
        (47, "SELECT nothing"),
        (115, "SELECT 1 SETTINGS nope = 1"),
    ):
        with pytest.raises(DatabaseError) as caught:
            client.query(sql)
        assert caught.value.code == code


def test_a_block_inserted_twice_under_one_token_is_there_once(client):
    client.command(
        "CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    for token, rows in (("a", [[1], [2]]), ("a", [[1], [2]]), ("b", [[1], [2]])):
        client.insert("t", rows, column_names=["a"], settings={"insert_deduplication_token": token})
    assert client.command("SELECT count() FROM t") == 4


def test_clients_work_side_by_side(address, database):
    results = []

    def work(number):
        client = clickhouse_connect.get_client(**address, database=database)
        results.extend(client.query("SELECT {n:Int64}, sum(number) FROM numbers(100000)", {"n": number}).result_rows)
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(number, 4999950000) for number in range(8)]


def test_the_default_client_of_a_user_works(address):
    client = clickhouse_connect.get_client(**address)
    assert client.ping()
    assert client.query("SELECT timezone()").result_rows[0][0] in ("UTC", "Etc/UTC")
    assert client.query("SELECT currentDatabase()").result_rows == [("default",)]
    assert client.min_version("24.8")
