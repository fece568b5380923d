"""One store in a directory and one in a bucket: what is published, read and deleted is the same."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from lab_pipeline.domain.errors import LabError
from lab_pipeline.files.bucket import Bucket, BucketError
from lab_pipeline.files.cache import FileCache
from lab_pipeline.runs import artifact_storage, artifacts
from lab_pipeline.runs.artifacts import (
    ArtifactStore,
    DamagedArtifactError,
    UnknownArtifactError,
    UnknownRunError,
    UnreadableManifestError,
)
from lab_pipeline.settings import Settings, load_settings
from lab_pipeline_tests.support.object_store import serving_objects, use_only
from lab_pipeline_tests.support.results import PROVENANCE, SUMMARY, result_frames

REPOSITORY = Path(__file__).resolve().parents[2]
OTHER = artifacts.Provenance(PROVENANCE.spec, "cd" * 32, "1")
PUBLISH = textwrap.dedent("""
    import os, signal, sys
    from lab_pipeline.files.bucket import Bucket
    from lab_pipeline.runs.artifacts import ArtifactStore
    from lab_pipeline.settings import load_settings
    from lab_pipeline_tests.support.results import PROVENANCE, SUMMARY, result_frames
    left = int(sys.argv[1])
    def dying(function):
        def call(*arguments):
            global left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*arguments)
        return call
    Bucket.write, Bucket.create = dying(Bucket.write), dying(Bucket.create)
    ArtifactStore.of(load_settings()).publish("run-1", PROVENANCE, result_frames(), SUMMARY, "<html></html>")
""")


def publish(store, run_id="run-1", *, provenance=PROVENANCE, rows=3):
    return store.publish(run_id, provenance, result_frames(rows), SUMMARY, "<html></html>")


def in_bucket(home, bucket, **settings):
    return ArtifactStore.of(Settings(home=home, artifacts=bucket, **settings))


@pytest.fixture
def store(tmp_path, bucket):
    return in_bucket(tmp_path / "here", bucket)


@pytest.fixture
def elsewhere(tmp_path, bucket):
    """The same artifacts, seen from a machine that has none of the files."""
    return in_bucket(tmp_path / "elsewhere", bucket)


@pytest.fixture
def plain(tmp_path):
    return ArtifactStore(tmp_path / "plain")


@pytest.fixture
def objects(bucket):
    """Keys of what is in the bucket."""
    return lambda: sorted(one.key for one in Bucket(bucket).objects(""))


@pytest.fixture
def killed_at(tmp_path, bucket, monkeypatch):
    """Publish in another process that is killed before the n-th object; return how it ended."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "killed"))
    monkeypatch.setenv("LAB_ARTIFACTS", bucket)
    command = [sys.executable, "-c", PUBLISH]
    return lambda step: subprocess.run([*command, str(step)], cwd=REPOSITORY, check=False).returncode


def seen_of(store, run_id="run-1"):
    """Return everything that can be asked of a run, as far as it does not say where that is."""
    manifest = store.manifest(run_id)
    return {
        "runs": sorted(store.run_ids()),
        "manifest": manifest.model_copy(update={"created_at": None}),
        "manifests": len(list(store.manifests())),
        "files": {file.name: store.path(run_id, file.name).read_bytes() for file in manifest.files},
        "verified": store.path(run_id, "trades", verify=True).read_bytes(),
        "found": store.find(run_id[:4]),
        "has": [store.has(name) for name in (run_id, "run-9", "../" + run_id, ".staging", "runs", "")],
        "damage": store.damage(run_id) + store.missed(run_id),
        "leftovers": store.leftovers(),
        "known": [name for name, _ in store.storage.stamps() if not name.startswith(".")],
    }


def test_what_is_published_is_read_alike_here_and_on_another_machine(store, plain, elsewhere):
    publish(plain)
    publish(store)
    assert seen_of(store) == seen_of(elsewhere) == seen_of(plain)


def test_questions_about_what_is_not_there_are_answered_alike(store, plain):
    for one in (store, plain):
        publish(one)
        with pytest.raises(UnknownRunError, match="no artifacts of run 'run-9' in "):
            one.manifest("run-9")
        with pytest.raises(UnknownRunError, match="unknown run 'x'"):
            one.find("x")
        with pytest.raises(UnknownArtifactError, match=r"no artifact 'nope': it has fills\.parquet, "):
            one.path("run-1", "nope")
        one.delete("run-9")


def test_what_is_deleted_is_gone_for_all(store, elsewhere, objects):
    publish(store)
    publish(store, "run-2")
    assert elsewhere.path("run-1", "trades").exists()
    store.delete("run-1")
    assert elsewhere.run_ids() == store.run_ids() == ["run-2"]
    with pytest.raises(UnknownRunError):
        elsewhere.path("run-1", "trades")  # there is a copy still, of what is no more
    assert not [key for key in objects() if "run-1" in key]
    publish(elsewhere, "run-1")
    assert store.damage("run-1") == []


def test_a_run_is_there_from_the_moment_of_its_manifest(store, elsewhere, objects, monkeypatch):
    create, seen = Bucket.create, []

    def look(self, key, content):
        seen.append((elsewhere.run_ids(), len(objects())))
        return create(self, key, content)

    monkeypatch.setattr(Bucket, "create", look)
    manifest = publish(store)
    assert seen == [([], len(manifest.files))]
    assert elsewhere.run_ids() == ["run-1"]


@pytest.mark.parametrize("step", [0, 3, 7])
def test_a_publisher_killed_before_the_manifest_leaves_no_run_and_a_retry_publishes_it(
    store, elsewhere, objects, killed_at, step
):
    assert killed_at(step) == -signal.SIGKILL
    assert len(objects()) == step
    assert store.run_ids() == []
    assert not store.has("run-1")
    assert killed_at(99) == 0
    assert elsewhere.damage("run-1") == []
    assert len(objects()) == len(elsewhere.manifest("run-1").files) + 1  # nothing of the first is left over


def test_what_a_killed_publisher_left_is_removed_when_nobody_can_be_at_it(store, objects, monkeypatch):
    Bucket(store.storage.bucket.address).write("runs/run-1/trades.0123456789abcdef.parquet", b"12345")
    publish(store, "run-2")
    assert store.leftovers() == store.leftovers(remove=True) == 0  # its publisher may live
    monkeypatch.setattr(artifact_storage, "ABANDONED", timedelta(seconds=-1))
    assert store.leftovers() == 5
    assert store.leftovers(remove=True) == 5
    assert not [key for key in objects() if "run-1" in key]
    assert store.damage("run-2") == []


def test_of_two_publishers_at_once_one_wins_and_its_files_stay_whole(tmp_path, bucket, monkeypatch):
    stores = [in_bucket(tmp_path / name, bucket) for name in ("one", "two")]
    both = threading.Barrier(2)
    create = Bucket.create
    monkeypatch.setattr(Bucket, "create", lambda *asked: both.wait(30) + 1 and create(*asked))
    sources = [(stores[0], PROVENANCE, 3), (stores[1], OTHER, 5)]

    def run(asked):
        store, provenance, rows = asked
        try:
            return publish(store, provenance=provenance, rows=rows)
        except LabError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, sources))
    (lost,) = [one for one in results if isinstance(one, LabError)]
    (won,) = [one for one in results if not isinstance(one, LabError)]
    assert f"run run-1 is already published in {bucket}/runs/run-1 with another result" in str(lost)
    assert stores[0].manifest("run-1") == stores[1].manifest("run-1") == won
    assert stores[0].damage("run-1") == []


def test_publishing_the_same_again_returns_what_is_there(store, elsewhere):
    assert publish(store).created_at == publish(elsewhere).created_at


def test_the_files_of_a_run_are_taken_over_without_being_read(store, elsewhere, monkeypatch):
    publish(store)
    monkeypatch.setattr(Bucket, "pieces", None)
    monkeypatch.setattr(Bucket, "write", None)
    elsewhere.adopt("run-2", "run-1")
    monkeypatch.undo()
    store.delete("run-1")
    assert store.damage("run-2") == []
    assert store.manifest("run-2").run_id == "run-2"
    with pytest.raises(UnknownRunError):
        store.adopt("run-3", "run-1")


def key_of(store, name):
    return store.storage.uri("run-1", store.file("run-1", name)).removeprefix(store.storage.bucket.address + "/")


def test_lost_and_changed_objects_are_named_and_never_handed_out(store, elsewhere):
    publish(store)
    bucket, trades, fills = store.storage.bucket, key_of(store, "trades"), key_of(store, "fills")
    size = store.file("run-1", "trades").bytes
    bucket.write(trades, b"x" * size)
    bucket.delete([fills])
    place = store.storage.at("run-1")
    assert elsewhere.damage("run-1") == [
        "run-1/fills.parquet: it is missing",
        "run-1/trades.parquet: its bytes are not those that were published",
    ]
    assert elsewhere.missed("run-1") == [f"{place}/fills.parquet is lost"]
    with pytest.raises(DamagedArtifactError, match=r"trades\.parquet is damaged \(its bytes are not those"):
        elsewhere.path("run-1", "trades")
    with pytest.raises(DamagedArtifactError, match=r"fills\.parquet is lost"):
        elsewhere.path("run-1", "fills")
    bucket.write(trades, b"x")
    assert f"{place}/trades.parquet is damaged (1 of {size:,} bytes)" in elsewhere.missed("run-1")
    with pytest.raises(DamagedArtifactError):
        store.path("run-1", "trades", verify=True)  # there is a good copy here, but that is not what is asked
    assert list((elsewhere.storage.cache.directory).glob("*.parquet")) == []
    bucket.write("runs.manifests/run-1.json", b"{}")
    with pytest.raises(UnreadableManifestError, match=r"s3://.*/runs/run-1/manifest\.json is damaged"):
        elsewhere.manifest("run-1")


def test_copies_have_no_more_bytes_than_they_may_and_what_is_in_use_stays(tmp_path):
    cache = FileCache(tmp_path / "cache", 1000)
    for number in range(10):
        with cache.adding(f"{number}.bin") as draft:
            draft.write_bytes(b"x" * 300)
    assert len(list(cache.directory.iterdir())) == 10  # all were just asked for
    for number in range(10):
        os.utime(cache.directory / f"{number}.bin", (0, time.time() - 10_000 + number))
    assert cache.find("0.bin", 300) is not None
    with cache.adding("new.bin") as draft:
        draft.write_bytes(b"x" * 300)
    assert sorted(path.name for path in cache.directory.iterdir()) == ["0.bin", "9.bin", "new.bin"]
    assert cache.find("1.bin", 300) is None
    assert cache.find("9.bin", 299) is None


def test_many_readers_at_once_get_whole_files_while_copies_come_and_go(tmp_path, store, bucket, monkeypatch):
    monkeypatch.setattr("lab_pipeline.files.cache.IN_USE_SECONDS", 0.5)
    manifests = {f"run-{number}": publish(store, f"run-{number}", rows=100 * number) for number in (1, 2, 3)}
    readers = [in_bucket(tmp_path / "readers", bucket) for _ in range(2)]
    for reader in readers:
        reader.storage.cache.most_bytes = 4_000  # less than all of them have

    def read(number):
        run_id = f"run-{1 + number % 3}"
        file = next(file for file in manifests[run_id].files if file.name == "outcomes.parquet")
        return len(readers[number % 2].path(run_id, file.name).read_bytes()) == file.bytes

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(90)))


def asks(store):
    return {
        "runs": store.run_ids,
        "manifest": lambda: store.manifest("run-1"),
        "has": lambda: store.has("run-1"),
        "find": lambda: store.find("run-1"),
        "path": lambda: store.path("run-1", "trades"),
        "damage": lambda: store.damage("run-1"),
        "missed": lambda: store.missed("run-1"),
        "delete": lambda: store.delete("run-1"),
        "leftovers": store.leftovers,
        "stamps": lambda: list(store.storage.stamps()),
        "size": lambda: store.storage.size("run-1"),
        "require": store.storage.require,
        "publish": lambda: publish(store),
    }


@pytest.mark.parametrize("name", list(asks(ArtifactStore(Path()))))
def test_no_question_has_an_answer_where_there_is_no_such_bucket(tmp_path, bucket, name):
    store = in_bucket(tmp_path, "s3://nowhere/at-all")
    with pytest.raises(BucketError, match="s3://nowhere/at-all: there is no such bucket: create it, or correct"):
        asks(store)[name]()
    assert bucket  # the store itself answers


@pytest.mark.slow
def test_a_store_that_is_down_is_named_and_nothing_else_is_said(tmp_path, monkeypatch):
    with serving_objects() as server:
        use_only(server, monkeypatch)
        store = in_bucket(tmp_path, f"s3://{server.make_bucket()}/lab")
        publish(store)
    began = time.monotonic()
    for ask in asks(store).values():
        with pytest.raises(BucketError, match=r"s3://bucket.* does not answer as it ought: check .*AWS_ENDPOINT_URL"):
            ask()
    assert time.monotonic() - began < 30


def test_who_is_refused_is_told_what_to_check(httpserver, tmp_path, monkeypatch):
    body = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    httpserver.expect_request("/bucket", query_string={"list-type": "2", "prefix": "lab/"}).respond_with_data(body, 403)
    monkeypatch.setenv("AWS_ENDPOINT_URL", httpserver.url_for("").rstrip("/"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    with pytest.raises(BucketError, match="s3://bucket/lab: access was refused: check AWS_ACCESS_KEY_ID") as refused:
        in_bucket(tmp_path, "s3://bucket/lab").storage.require()
    assert "hush" not in str(refused.value)


def test_an_endpoint_without_encryption_needs_no_other_setting(store, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    publish(store)
    assert store.run_ids() == ["run-1"]


def test_who_has_no_credentials_is_told_so(tmp_path, object_store, monkeypatch):
    use_only(object_store, monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BucketError, match="s3://bucket: no credentials: set AWS_ACCESS_KEY_ID"):
        in_bucket(tmp_path, "s3://bucket").storage.require()


@pytest.mark.parametrize("address", ["bucket", "s3://", "s3://UPPER", "http://bucket", "s3://bucket//x", "s3://b/x y"])
def test_what_is_no_address_of_a_bucket_is_refused(monkeypatch, address):
    monkeypatch.setenv("LAB_ARTIFACTS", address)
    with pytest.raises(LabError, match="LAB_ARTIFACTS: write s3://bucket or s3://bucket/prefix"):
        load_settings()
