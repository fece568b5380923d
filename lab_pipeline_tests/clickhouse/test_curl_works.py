import shutil
import subprocess

import pytest


@pytest.fixture
def curl(address, database):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    url = f"{address.get('interface', 'http')}://{address['host']}:{address['port']}/"

    def run(*arguments, data=b"", query=""):
        user = f"{address['username']}:{address['password']}"
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--user", user, *arguments]
        return subprocess.run(
            [*command, f"{url}?database={database}{query}"], input=data, check=True, capture_output=True
        )

    return run


def test_a_query_is_one_line(curl):
    assert curl("--data-binary", "SELECT 1 + 1").stdout == b"2\n"
    assert curl("--get", "--data-urlencode", "query=SELECT 'é' FORMAT JSONEachRow").stdout.decode() == '{"\'é\'":"é"}\n'


def test_a_file_is_inserted_as_it_is_uploaded(curl, client, tmp_path):
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
    file = tmp_path / "numbers.csv"
    file.write_bytes(b"".join(b"%d\n" % n for n in range(500_000)))
    query = "&query=INSERT%20INTO%20t%20FORMAT%20CSV"
    answer = curl("--data-binary", f"@{file}", "--header", "Expect: 100-continue", "--include", query=query)
    assert b" 200 OK" in answer.stdout
    curl("--data-binary", "@-", "--header", "Transfer-Encoding: chunked", data=b"7\n", query=query)
    assert client.query("SELECT count(), sum(n) FROM t").result_rows == [(500_001, 124999750007)]


def test_a_large_result_streams(curl):
    answer = curl("--data-binary", "SELECT number FROM numbers(1000000) FORMAT TSV")
    assert answer.stdout.endswith(b"\n999999\n")


def test_an_error_shows(curl):
    answer = curl("--data-binary", "SELECT nothing", "--write-out", "%{http_code}")
    assert answer.stdout.startswith(b"Code: 47. DB::Exception: ")
    assert answer.stdout.endswith(b"404")
