import pytest

from lab_pipeline.clickhouse.config import ClickHouseConfig, clickhouse_config
from lab_pipeline.domain.errors import InvalidConfigError
from lab_pipeline.settings import load_settings


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A function that reads the configuration from an environment."""

    def read(environment):
        monkeypatch.setenv("LAB_HOME", str(tmp_path))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return clickhouse_config(load_settings())

    return read


def test_nothing_set_is_the_embedded_server(configured, tmp_path):
    config = configured({"LAB_CLICKHOUSE_URL": ""})
    assert config == ClickHouseConfig(state_dir=tmp_path / "clickhouse")
    assert config.embedded


def test_everything_can_be_set(configured):
    environment = {
        "LAB_CLICKHOUSE_URL": "https://lab%40home:p%2Fw@db.example:9443/market",
        "LAB_CLICKHOUSE_CLUSTER": "{cluster}",
        "LAB_CLICKHOUSE_IDLE_SECONDS": "2.5",
        "LAB_RETENTION_DAYS": "30",
    }
    config = configured(environment)
    server = config.server
    assert (server.host, server.port, server.secure) == ("db.example", 9443, True)
    assert (server.username, server.password) == ("lab@home", "p/w")
    assert (config.database, config.cluster, config.idle_seconds, config.retention_days) == (
        "market",
        "{cluster}",
        2.5,
        30,
    )
    assert "p/w" not in repr(config) + repr(server)


def test_ports_and_user_have_clickhouses_defaults(tmp_path):
    assert ClickHouseConfig(tmp_path, url="http://db").server.port == 8123
    assert ClickHouseConfig(tmp_path, url="https://db/").server.port == 8443
    assert ClickHouseConfig(tmp_path, url="http://db").server.username == "default"
    assert ClickHouseConfig(tmp_path, url="http://db").database == "lab"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LAB_CLICKHOUSE_URL", "db:8123"),
        ("LAB_CLICKHOUSE_URL", "clickhouse://db"),
        ("LAB_CLICKHOUSE_URL", "http://db:port"),
        ("LAB_CLICKHOUSE_URL", "http://db:99999"),
        ("LAB_CLICKHOUSE_URL", "http://db/a`b"),
        ("LAB_CLICKHOUSE_CLUSTER", "main"),
        ("LAB_CLICKHOUSE_IDLE_SECONDS", "soon"),
        ("LAB_CLICKHOUSE_IDLE_SECONDS", "0"),
        ("LAB_RETENTION_DAYS", "-1"),
        ("LAB_RETENTION_DAYS", "a week"),
    ],
)
def test_a_wrong_variable_is_named(configured, variable, value):
    with pytest.raises(InvalidConfigError, match=f"the environment is not valid: {variable}: "):
        configured({variable: value})


def test_a_cluster_must_have_a_plain_name(tmp_path):
    with pytest.raises(InvalidConfigError, match="plain name"):
        ClickHouseConfig(tmp_path, url="http://db", cluster="a' b")
