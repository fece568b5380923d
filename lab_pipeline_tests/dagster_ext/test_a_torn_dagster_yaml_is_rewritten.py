"""The lab writes its dagster.yaml from its settings, so what a power cut leaves of it is no loss; a user's own is."""

import pytest

from lab_pipeline.dagster_ext.instance import CONFIG, HEADER, instance_config, open_instance, prepare_environment
from lab_pipeline.domain.errors import LabError
from lab_pipeline.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


@pytest.mark.parametrize("keep", [0, 1, 20, len(HEADER), len(HEADER) + 60, 900])
@pytest.mark.parametrize("zeros", [0, 300], ids=["cut", "zeros"])
def test_a_torn_file_of_the_lab_is_written_anew(settings, keep, zeros):
    prepare_environment(settings)
    path = settings.dagster_home / CONFIG
    whole = path.read_bytes()
    path.write_bytes(whole[:keep] + bytes(zeros))

    prepare_environment(settings)

    assert path.read_bytes() == whole == instance_config(settings).encode()


@pytest.mark.parametrize("content", [b"run_launcher:\n", b"\x00a: 1", b"a: [1,", b"\xff\xfe"])
def test_a_damaged_file_of_the_user_is_named_and_left_alone(settings, content, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    prepare_environment(settings)
    path = settings.dagster_home / CONFIG
    path.write_bytes(content)

    with pytest.raises(LabError, match=r"cannot be used: .*Fix it, or delete it") as raised:
        open_instance(settings)

    assert str(path) in str(raised.value)
    assert path.read_bytes() == content
