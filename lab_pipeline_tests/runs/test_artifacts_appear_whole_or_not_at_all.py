import errno
import hashlib
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lab_pipeline.domain.errors import LabError
from lab_pipeline.runs import artifacts
from lab_pipeline.runs.artifacts import (
    ArtifactStore,
    DamagedArtifactError,
    UnknownArtifactError,
    UnknownRunError,
    UnreadableManifestError,
    read_manifest,
)
from lab_pipeline.statistics.manifests import read_head
from lab_pipeline_tests.support.results import PROVENANCE, SUMMARY, result_frames

FILES = {
    "fills.parquet",
    "trades.parquet",
    "paths.parquet",
    "outcomes.parquet",
    "equity.parquet",
    "summary.json",
    "report.html",
}
REPOSITORY = Path(__file__).resolve().parents[2]


def publish(store, run_id="run-1", *, provenance=PROVENANCE, rows=3):
    return store.publish(run_id, provenance, result_frames(rows), SUMMARY, "<html></html>")


def visible(store):
    return sorted(path.name for path in store.storage.directory.iterdir() if not path.name.startswith("."))


def test_the_manifest_describes_every_other_file(tmp_path):
    store = ArtifactStore(tmp_path)
    manifest = publish(store)
    directory = tmp_path / "run-1"
    assert {path.name for path in directory.iterdir()} == FILES | {"manifest.json"}
    assert {file.name for file in manifest.files} == FILES
    for file in manifest.files:
        content = (directory / file.name).read_bytes()
        assert file.bytes == len(content)
        assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert read_manifest((directory / "manifest.json").read_bytes(), "there") == manifest == store.manifest("run-1")


def test_a_manifest_of_the_first_layout_does_not_say_so_and_one_that_does_reads_the_same(tmp_path):
    manifest = publish(ArtifactStore(tmp_path))
    path = tmp_path / "run-1" / "manifest.json"
    document = json.loads(path.read_bytes())
    assert "layout" not in document
    path.write_text(json.dumps(document | {"layout": 1}))
    assert read_manifest(path.read_bytes(), str(path)) == manifest


@pytest.mark.parametrize("reader", [read_manifest, read_head])
@pytest.mark.parametrize("more", [{}, {"files": "of a form that this version does not know", "parts": []}])
def test_a_manifest_of_a_later_version_is_refused_as_that_and_not_as_damaged(tmp_path, reader, more):
    publish(ArtifactStore(tmp_path))
    path = tmp_path / "run-1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"layout": 99} | more))
    with pytest.raises(UnreadableManifestError, match=f"{path} was written in layout 99 by a later .*: update it"):
        reader(path.read_bytes(), str(path))


@pytest.mark.parametrize("change", [{"unknown": 1}, {"layout": 0}, {"layout": "2"}])
def test_a_manifest_with_what_no_version_writes_is_damaged(tmp_path, change):
    publish(ArtifactStore(tmp_path))
    path = tmp_path / "run-1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(UnreadableManifestError, match=f"{path} is damaged .{next(iter(change))}"):
        read_manifest(path.read_bytes(), str(path))


def test_parquet_types_are_the_plain_ones(tmp_path):
    publish(ArtifactStore(tmp_path))
    schema = pq.read_schema(tmp_path / "run-1" / "outcomes.parquet")
    assert str(schema.field("call_id").type) == "string"
    assert str(schema.field("called_at").type) == "timestamp[ms, tz=UTC]"
    assert str(schema.field("trades").type) == "int32"
    manifest = ArtifactStore(tmp_path).manifest("run-1")
    outcomes = next(file for file in manifest.files if file.name == "outcomes.parquet")
    assert outcomes.rows == 3
    assert [(column.name, column.type) for column in outcomes.columns] == [(f.name, str(f.type)) for f in schema]


def test_two_runs_of_one_fingerprint_have_the_same_bytes(tmp_path):
    store = ArtifactStore(tmp_path)
    first, second = publish(store, "run-1"), publish(store, "run-2")
    assert first.fingerprint == second.fingerprint
    assert [file.sha256 for file in first.files] == [file.sha256 for file in second.files]


def test_publishing_again_returns_what_is_there(tmp_path):
    store = ArtifactStore(tmp_path)
    assert publish(store).created_at == publish(store).created_at
    assert visible(store) == ["run-1"]


def test_another_result_under_the_same_run_id_is_refused(tmp_path):
    store = ArtifactStore(tmp_path)
    publish(store)
    other = artifacts.Provenance(PROVENANCE.spec, "cd" * 32, "1")
    with pytest.raises(LabError, match="already published"):
        publish(store, provenance=other)
    assert store.manifest("run-1").snapshot == PROVENANCE.snapshot


def test_a_full_disk_publishes_nothing_and_says_so(tmp_path, monkeypatch):
    store = ArtifactStore(tmp_path)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts.pq, "write_table", full)
    with pytest.raises(LabError, match=r"nothing was published: the disk of .* is full"):
        publish(store)
    assert visible(store) == []
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["gate"]


def test_a_file_that_outgrows_the_disk_publishes_nothing(tmp_path):
    script = textwrap.dedent("""
        import resource, signal, sys
        from pathlib import Path
        from lab_pipeline.domain.errors import LabError
        from lab_pipeline.runs.artifacts import ArtifactStore
        from lab_pipeline_tests.support.results import PROVENANCE, SUMMARY, result_frames
        frames = result_frames(200_000)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            ArtifactStore(Path(sys.argv[1])).publish("run-1", PROVENANCE, frames, SUMMARY, "x" * 50_000)
        except LabError as error:
            print(error)
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "nothing was published" in done.stdout
    assert visible(ArtifactStore(tmp_path)) == []


@pytest.mark.parametrize("step", range(12))
def test_a_publisher_killed_anywhere_leaves_all_or_nothing(tmp_path, step):
    """Kill the process at its n-th sync or rename, then publish from another."""
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from lab_pipeline.runs.artifacts import ArtifactStore
        from lab_pipeline_tests.support.results import PROVENANCE, SUMMARY, result_frames
        left = int(sys.argv[2])
        def dying(function):
            def call(*args, **kwargs):
                global left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return function(*args, **kwargs)
            return call
        os.fsync, os.rename = dying(os.fsync), dying(os.rename)
        ArtifactStore(Path(sys.argv[1])).publish("run-1", PROVENANCE, result_frames(), SUMMARY, "<html></html>")
    """)
    command = [sys.executable, "-c", script, str(tmp_path), str(step)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    store = ArtifactStore(tmp_path)
    for name in visible(store):
        manifest = store.manifest(name)
        assert {path.name for path in (tmp_path / name).iterdir()} == FILES | {"manifest.json"}
        for file in manifest.files:
            assert hashlib.sha256((tmp_path / name / file.name).read_bytes()).hexdigest() == file.sha256
    publish(store)
    publish(store, "run-2")
    assert visible(store) == ["run-1", "run-2"]
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["gate"]


def test_a_living_publisher_is_not_swept(tmp_path, monkeypatch):
    """Publish one run in the middle of publishing another."""
    store = ArtifactStore(tmp_path)
    write = artifacts.pq.write_table
    nested = []

    def write_and_publish_another(*args, **kwargs):
        write(*args, **kwargs)
        if not nested:
            nested.append("run-2")
            publish(store, "run-2")

    monkeypatch.setattr(artifacts.pq, "write_table", write_and_publish_another)
    publish(store, "run-1")
    assert visible(store) == ["run-1", "run-2"]
    assert {path.name for path in (tmp_path / "run-1").iterdir()} == FILES | {"manifest.json"}


def test_artifacts_are_found_by_manifest_name_only(tmp_path):
    store = ArtifactStore(tmp_path)
    publish(store)
    assert (
        store.path("run-1", "trades") == store.path("run-1", "trades.parquet") == tmp_path / "run-1" / "trades.parquet"
    )
    for name in ("../run-1/trades.parquet", "manifest.json", "", "/etc/passwd"):
        with pytest.raises(UnknownArtifactError, match=r"it has fills\.parquet"):
            store.path("run-1", name)
    for run_id in ("", "..", ".staging", "run-2"):
        with pytest.raises(UnknownRunError):
            store.path(run_id, "trades")


def test_a_directory_without_a_manifest_is_no_run(tmp_path):
    (tmp_path / "run-9").mkdir()
    store = ArtifactStore(tmp_path)
    assert list(store.manifests()) == []
    with pytest.raises(UnknownRunError):
        store.manifest("run-9")


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_artifact_is_not_handed_out(tmp_path, damage):
    store = ArtifactStore(tmp_path)
    publish(store)
    damage(tmp_path / "run-1" / "trades.parquet")

    with pytest.raises(DamagedArtifactError, match=r"trades.parquet.*`lab restore`"):
        store.path("run-1", "trades", verify=True)
    assert store.path("run-1", "fills", verify=True).name == "fills.parquet"
    assert len(store.damage("run-1")) == 1


@pytest.mark.parametrize("damage", [DAMAGE["cut"], DAMAGE["empty"], DAMAGE["gone"]], ids=["cut", "empty", "gone"])
def test_a_lost_or_cut_artifact_is_missed_without_reading_it(tmp_path, damage):
    store = ArtifactStore(tmp_path)
    publish(store)
    damage(tmp_path / "run-1" / "trades.parquet")

    with pytest.raises(DamagedArtifactError, match=r"trades.parquet.*`lab restore`"):
        store.path("run-1", "trades")
    assert [problem.partition(" ")[0] for problem in store.missed("run-1")] == [
        str(tmp_path / "run-1" / "trades.parquet")
    ]


@pytest.mark.parametrize("content", [b"", bytes(100), b'{"run_id": "r', b"[]", b"null"])
def test_a_damaged_manifest_is_named(tmp_path, content):
    store = ArtifactStore(tmp_path)
    publish(store)
    (tmp_path / "run-1" / "manifest.json").write_bytes(content)

    with pytest.raises(UnreadableManifestError, match=r"manifest.json is damaged.*`lab restore`"):
        store.manifest("run-1")
    assert len(store.missed("run-1")) == 1
