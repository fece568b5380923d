"""What ClickHouse's HTTP interface promises to any client, and the lab relies on."""

import gzip
import json
import zlib

import lz4.frame
import pytest

from lab_pipeline.clickhouse.gateway.encodings import zstd

ZIPPED = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "two gzip members": lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:]),
    "two lz4 frames": lambda data: lz4.frame.compress(data[:10]) + lz4.frame.compress(data[10:]),
    "two zstd frames": lambda data: zstd.compress(data[:10]) + zstd.compress(data[10:]),
}
NUMBERS = b"".join(b"%d\n" % number for number in range(100_000))


def encoding_of(name):
    return name.split()[1] if name.startswith("two") else name


@pytest.fixture
def table(client):
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")

    def count():
        return client.query("SELECT count(), sum(n) FROM t").result_rows[0]

    return count


def test_ping_needs_no_password(address, pool):
    answer = pool.request("GET", f"{address.get('interface', 'http')}://{address['host']}:{address['port']}/ping")
    assert (answer.status, answer.data) == (200, b"Ok.\n")


def test_the_query_may_be_in_the_url_the_body_or_both(http):
    assert http("SELECT 1, 'x'").data == b"1\tx\n"
    assert http(body="SELECT 2").data == b"2\n"
    assert http("SELECT", body="3").data == b"3\n"
    assert http("SELECT 4", method="GET").data == b"4\n"


def test_formats_are_named_by_query_url_or_header(http):
    assert http("SELECT 1 AS a FORMAT JSONEachRow").data == b'{"a":1}\n'
    assert http("SELECT 1 AS a", default_format="CSV").data == b"1\n"
    answer = http("SELECT 1 AS a", headers={"X-ClickHouse-Format": "JSON"})
    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(answer.data)["data"] == [{"a": 1}]


def test_answers_say_what_they_are(http):
    answer = http("SELECT 1", query_id="q-1")
    assert answer.headers["X-ClickHouse-Query-Id"] == "q-1"
    assert answer.headers["X-ClickHouse-Format"] == "TabSeparated"
    assert answer.headers["X-ClickHouse-Timezone"] in ("UTC", "Etc/UTC")
    assert answer.headers["X-ClickHouse-Server-Display-Name"]
    assert "X-ClickHouse-Query-Id" in http("SELECT 1").headers


def test_statements_without_result_have_no_format(http, table):
    assert "X-ClickHouse-Format" not in http("TRUNCATE TABLE t").headers
    summary = json.loads(http(body="INSERT INTO t FORMAT CSV\n1\n2\n").headers["X-ClickHouse-Summary"])
    assert summary["written_rows"] == "2"
    assert json.loads(http("INSERT INTO t SELECT 5").headers["X-ClickHouse-Summary"])["written_rows"] == "1"
    assert table() == (3, 8)


@pytest.mark.parametrize(
    ("status", "code", "query"),
    [
        (400, 62, "SELEC 1"),
        (400, 62, "SELECT 1; SELECT 2"),
        (404, 60, "SELECT * FROM nowhere"),
        (404, 46, "SELECT nofunction()"),
        (404, 81, "SELECT * FROM nodatabase.t"),
        (404, 115, "SELECT 1 SETTINGS nosetting = 1"),
        (400, 456, "SELECT {x:Int8}"),
    ],
)
def test_errors_have_code_status_and_text(http, status, code, query):
    answer = http(query)
    assert answer.status == status
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert answer.data.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b"(version 2" in answer.data


def test_a_wrong_password_is_refused(address, pool):
    url = f"{address.get('interface', 'http')}://{address['host']}:{address['port']}/?query=SELECT+1"
    for headers in ({}, {"X-ClickHouse-User": address["username"], "X-ClickHouse-Key": "wrong"}):
        answer = pool.request("POST", url, headers=headers, retries=False)
        assert answer.status == 403
        assert answer.headers["X-ClickHouse-Exception-Code"] == "516"


def test_the_password_may_come_in_each_usual_way(address, pool):
    user, password = address["username"], address["password"]
    url = f"{address.get('interface', 'http')}://{address['host']}:{address['port']}/?query=SELECT+1"
    headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password}
    assert pool.request("POST", url, headers=headers).data == b"1\n"
    assert pool.request("POST", f"{url}&user={user}&password={password}").data == b"1\n"


def test_the_embedded_server_takes_its_password_as_a_token(embedded, http, address):
    assert embedded
    assert http("SELECT 1", headers={"Authorization": f"Bearer {address['password']}"}).data == b"1\n"
    assert http("SELECT 1", headers={"Authorization": "Bearer wrong"}).status == 403
    assert http("SELECT 1", headers={"Authorization": "Basic ?"}).status == 403


def test_a_get_only_reads(http, table):
    assert http("SELECT 1 SETTINGS max_threads = 1", method="GET").status == 200
    answer = http("INSERT INTO t VALUES (1)", method="GET")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "164"
    assert http("DROP TABLE t", method="GET").headers["X-ClickHouse-Exception-Code"] == "164"
    assert table() == (0, 0)


def test_readonly_holds_for_its_request(http, table):
    for query in ("INSERT INTO t VALUES (1)", "SELECT 1 SETTINGS max_threads = 1"):
        assert http(query, readonly=1).headers["X-ClickHouse-Exception-Code"] == "164"
    assert http("SELECT 1", readonly=1).data == b"1\n"
    assert http("INSERT INTO t VALUES (1)").status == 200
    assert table() == (1, 1)


@pytest.mark.parametrize("name", ZIPPED)
def test_compressed_bodies_are_understood(http, table, name):
    body = ZIPPED[name](b"INSERT INTO t FORMAT CSV\n" + NUMBERS)
    answer = http(body=body, headers={"Content-Encoding": encoding_of(name)})
    assert answer.status == 200, answer.data
    assert table() == (100_000, 4999950000)


@pytest.mark.parametrize("name", ["gzip", "lz4", "zstd"])
def test_a_compressed_body_that_ends_early_inserts_nothing(http, table, name):
    body = ZIPPED[name](NUMBERS)[:-20]
    answer = http("INSERT INTO t FORMAT CSV", body=body, headers={"Content-Encoding": name})
    assert answer.status >= 400
    assert table() == (0, 0)


def test_a_body_that_is_not_what_its_encoding_says_is_refused(http):
    assert http(body=b"SELECT 1", headers={"Content-Encoding": "gzip"}).status == 400
    assert http(body=b"SELECT 1", headers={"Content-Encoding": "zst"}).status == 501


def test_inserts_may_be_sent_in_chunks_of_any_size(http, table):
    text = b"INSERT INTO t FORMAT CSV\n" + NUMBERS[:2000]
    answer = http(body=iter([text[n : n + 3] for n in range(0, len(text), 3)]))
    assert answer.status == 200, answer.data
    assert table()[0] == len(NUMBERS[:2000].split())


def test_a_bad_row_at_the_end_inserts_nothing(http, table):
    answer = http("INSERT INTO t FORMAT CSV", body=NUMBERS * 20 + b"nonsense\n")
    assert answer.status == 400
    assert answer.headers["X-ClickHouse-Exception-Code"] in ("27", "117")
    assert table() == (0, 0)


def test_an_error_after_the_first_rows_is_announced_in_band(http):
    sql = (
        "SELECT throwIf(number = 3000000, 'too far'), number FROM numbers(4000000) FORMAT TSV SETTINGS max_threads = 1"
    )
    answer = http(sql)
    tag = answer.headers["X-ClickHouse-Exception-Tag"]
    tail = answer.data[-1000:].decode()
    assert answer.status == 200
    assert f"\r\n__exception__\r\n{tag}\r\nCode: 395. DB::Exception: " in tail
    assert tail.endswith(f" {tag}\r\n__exception__\r\n")


def test_an_error_of_a_result_that_is_waited_for_has_its_status(http):
    sql = "SELECT throwIf(number = 300000, 'too far'), number FROM numbers(400000) FORMAT TSV SETTINGS max_threads = 1"
    answer = http(sql, wait_end_of_query=1)
    assert answer.status == 500
    assert answer.headers["X-ClickHouse-Exception-Code"] == "395"


def test_parameters_come_escaped_in_the_url(http):
    answer = http("SELECT {s:String}, {n:UInt8}, {a:Array(String)}", param_s="a\\tb", param_n="5", param_a="['x','y']")
    assert answer.data == b"a\\tb\t5\t['x','y']\n"
    assert http("SELECT {missing:String}").headers["X-ClickHouse-Exception-Code"] == "456"


def test_an_insert_takes_parameters(http, table):
    answer = http("INSERT INTO {name:Identifier} FORMAT CSV", body=b"1\n", param_name="t")
    assert answer.status == 200, answer.data
    assert table() == (1, 1)


def test_a_form_brings_query_parameters_and_tables(http):
    fields = {"query": "SELECT n, {s:String} FROM ext", "param_s": "é", "ext": ("ext.csv", b"1\r\n2\n", "text/csv")}
    answer = http(fields=fields, ext_structure="n UInt8", ext_format="CSV")
    assert answer.data.decode() == "1\té\n2\té\n"
    assert http(fields=fields, ext_types="Tuple(a UInt8, b UInt8), UInt8").status >= 400
    assert http(fields=fields).status == 400


def test_requests_leave_nothing_behind(http):
    assert http("SELECT 1", max_threads=1).status == 200
    assert http("SET max_threads = 1").status == 200
    http("USE system")
    assert http("SELECT currentDatabase() LIKE 'test_%', getSetting('max_threads') != 1").data in (
        b"1\t1\n",
        b"1\ttrue\n",
    )


def test_what_cannot_be_done_is_refused_not_ignored(http, embedded):
    assert embedded.embedded
    assert http("SELECT 1", decompress=1).status == 501
    assert http("SELECT 1", role="admin").headers["X-ClickHouse-Exception-Code"] == "511"
    assert http("SELECT 1", **{"bad name": 1}).status == 400
    assert http("SELECT 1", nosetting=1).headers["X-ClickHouse-Exception-Code"] == "115"
    assert http(path="metrics").status == 404


def test_empty_and_broken_requests_are_refused(http):
    assert http(body="").status == 400
    assert http(body="-- nothing").status == 400
    assert http(body=b"SELECT 1\xff").status == 400
    assert http(body=b"INSERT INTO t\xff FORMAT CSV\n1\n").status == 400
