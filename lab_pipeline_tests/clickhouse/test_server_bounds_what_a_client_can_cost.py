import gzip
import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import clickhouse_connect
import pytest
import urllib3
from clickhouse_connect.driver.exceptions import DatabaseError

from lab_pipeline.clickhouse.gateway.launch import lease_server

PARALLEL_REQUESTS = 256  # what the embedded server takes

ENDLESS = "SELECT sum(sipHash64(number)) FROM numbers(100000000000)"


def running(client, text):
    sql = "SELECT count() FROM system.processes WHERE query LIKE {text:String} AND query NOT LIKE '%system.processes%'"
    return client.query(sql, parameters={"text": f"%{text}%"}).result_rows[0][0]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def raw_request(address, head, body=b""):
    connection = socket.create_connection((address["host"], address["port"]))
    login = urllib3.make_headers(basic_auth=f"{address['username']}:{address['password']}")["authorization"]
    connection.sendall(f"{head} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {login}\r\n".encode() + body)
    return connection


@pytest.mark.parametrize("sql", [ENDLESS, f"INSERT INTO FUNCTION null('n UInt64') {ENDLESS}"])
def test_a_query_ends_when_its_client_hangs_up(embedded, address, client, sql):
    assert embedded
    connection = raw_request(address, "POST /", f"Content-Length: {len(sql)}\r\n\r\n{sql}".encode())
    wait_until(lambda: running(client, "sipHash64") == 1)
    connection.close()
    wait_until(lambda: running(client, "sipHash64") == 0)


def test_a_stream_ends_when_its_client_hangs_up(embedded, address, client):
    assert embedded
    sql = "SELECT number, 'endless' FROM numbers(100000000000) FORMAT TSV"
    connection = raw_request(address, "POST /", f"Content-Length: {len(sql)}\r\n\r\n{sql}".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    wait_until(lambda: running(client, "'endless'") == 1)
    connection.close()
    wait_until(lambda: running(client, "'endless'") == 0)


def test_an_insert_whose_client_hangs_up_inserts_nothing(embedded, address, database, client):
    assert embedded
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    rows = b"1\n" * 3_000_000
    head = f"POST /?database={database}&query=INSERT+INTO+t+FORMAT+CSV"
    connection = raw_request(address, head, f"Content-Length: {len(rows) + 1}\r\n\r\n".encode() + rows)
    connection.close()
    wait_until(lambda: running(client, "INSERT INTO t") == 0)
    assert client.command("SELECT count() FROM t") == 0


def test_a_reader_that_stalls_costs_no_memory(embedded, address, files):
    assert embedded
    status = Path(f"/proc/{files.endpoint().pid}/status")

    def resident_megabytes():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    sql = "SELECT number, toString(number) FROM numbers(100000000) FORMAT TSV"  # about 2 GB
    before = resident_megabytes()
    connection = raw_request(address, "POST /", f"Content-Length: {len(sql)}\r\n\r\n{sql}".encode())
    time.sleep(1.0)
    assert resident_megabytes() - before < 150
    connection.close()


def test_a_body_beyond_the_limit_is_refused_however_it_is_packed(own_server):
    with lease_server(replace(own_server, body_bytes=1_000_000)) as lease:
        endpoint = lease.endpoint
        login = urllib3.make_headers(basic_auth=f"{endpoint.username}:{endpoint.password}")
        url = f"http://{endpoint.host}:{endpoint.port}/?query=INSERT+INTO+FUNCTION+null('s+String')+FORMAT+LineAsString"
        with urllib3.PoolManager() as pool:
            assert pool.request("POST", url, body=b"x\n" * 400_000, headers=login).status == 200
            for body, headers in (
                (b"x\n" * 600_000, {}),
                (iter([b"x\n" * 300_000] * 2), {}),
                (gzip.compress(b"x\n" * 5_000_000), {"Content-Encoding": "gzip"}),
            ):
                answer = pool.request("POST", url, body=body, headers={**login, **headers})
                assert (answer.status, answer.headers["X-ClickHouse-Exception-Code"]) == (413, "223")


def test_too_many_requests_at_once_are_refused(own_server):
    with lease_server(own_server) as lease, ExitStack() as stack:
        address = {name: getattr(lease.endpoint, name) for name in ("host", "port", "username", "password")}
        unfinished = b"Content-Length: 100\r\n\r\nINSERT INTO t"
        for _ in range(PARALLEL_REQUESTS):
            stack.enter_context(raw_request(address, "POST /", unfinished))
        wait_until(lambda: one_more(address).startswith(b"HTTP/1.1 503"))
        assert b"Code: 202. DB::Exception: " in one_more(address)


def one_more(address):
    with raw_request(address, "POST /?query=SELECT+1", b"Content-Length: 0\r\nConnection: close\r\n\r\n") as connection:
        return b"".join(iter(lambda: connection.recv(10_000), b""))


def test_a_query_that_wants_too_much_memory_fails_alone(own_server):
    with lease_server(replace(own_server, memory_bytes=400 << 20)) as lease:
        endpoint = lease.endpoint
        client = clickhouse_connect.get_client(
            host=endpoint.host, port=endpoint.port, username=endpoint.username, password=endpoint.password
        )
        with pytest.raises(DatabaseError) as caught:
            client.command("SELECT length(groupArray(toString(number))) FROM numbers(100000000)")
        assert caught.value.code == 241
        assert client.command("SELECT 1") == 1
