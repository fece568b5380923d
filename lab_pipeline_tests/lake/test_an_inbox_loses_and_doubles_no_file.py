import os
import subprocess
import sys

import pytest

from lab_pipeline.lake import Inbox, LakeError
from lab_pipeline.lake.inbox import kind_of
from lab_pipeline_tests.markets import calls, candles


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path / "inbox")


def drop(inbox, name, text="x"):
    path = inbox.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(inbox):
    return [one.name for one in inbox.drops()]


def tree(inbox):
    return sorted(str(path.relative_to(inbox.root)) for path in inbox.root.rglob("*") if path.is_file())


def test_files_are_listed_oldest_first(inbox):
    for age, name in ((10, "b.csv"), (30, "candles/5m/a.csv"), (20, "c.csv")):
        os.utime(drop(inbox, name), (1e9 - age, 1e9 - age))
    assert names(inbox) == ["candles/5m/a.csv", "c.csv", "b.csv"]
    assert Inbox(inbox.root / "nowhere").drops() == []


@pytest.mark.parametrize(
    "name", [".x.csv", ".rsync/x.csv", "x.csv.part", "x.csv.crdownload", "x.tmp", "x.csv~", "done/x.csv", "rejected/x"]
)
def test_what_is_hidden_unfinished_or_done_is_left_alone(inbox, name):
    drop(inbox, name)
    assert names(inbox) == []


def test_a_file_has_another_key_when_it_has_grown_or_is_another(inbox):
    path = drop(inbox, "a.csv")
    (first,) = inbox.drops()
    assert inbox.drops() == [first]
    with path.open("a") as file:
        file.write("y")
    (grown,) = inbox.drops()
    assert grown.key != first.key
    assert inbox.take(first) is None
    assert path.exists()


def test_a_file_that_is_open_to_be_written_is_not_taken(inbox):
    path = drop(inbox, "a.csv")
    (found,) = inbox.drops()
    code = "import sys; file = open(sys.argv[1], 'a'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "open\n"
    assert inbox.is_being_written(found)
    assert inbox.take(found) is None
    writer.communicate("")
    assert not inbox.is_being_written(found)
    assert inbox.take(found).read_text() == "x"


def test_a_file_that_is_only_read_by_others_is_taken(inbox):
    path = drop(inbox, "a.csv")
    (found,) = inbox.drops()
    with path.open():
        assert not inbox.is_being_written(found)
        assert inbox.take(found) is not None


def test_a_file_that_was_taken_is_found_again_and_put_away(inbox):
    drop(inbox, "calls/a.csv", "mine")
    (found,) = inbox.drops()
    taken = inbox.take(found)
    drop(inbox, "calls/a.csv", "the next")
    assert inbox.drops()[0] == found
    assert inbox.is_taken(found.key)
    assert inbox.take(found) == taken
    assert inbox.finish(found).read_text() == "mine"
    assert not inbox.is_taken(found.key)
    assert tree(inbox) == ["calls/a.csv", "done/calls/a.csv"]
    (second,) = inbox.drops()
    inbox.take(second)
    assert inbox.finish(second).name == f"a.{second.key}.csv"
    assert (inbox.root / "done/calls/a.csv").read_text() == "mine"
    assert inbox.drops() == []


def test_a_rejected_file_has_its_error_beside_it(inbox):
    drop(inbox, "a.csv")
    (found,) = inbox.drops()
    inbox.take(found)
    inbox.reject(found, "line 3 is wrong")
    assert tree(inbox) == ["rejected/a.csv", "rejected/a.csv.error.txt"]
    assert (inbox.root / "rejected/a.csv.error.txt").read_text() == "line 3 is wrong\n"


def test_a_rejection_that_was_cut_off_is_completed(inbox, monkeypatch):
    drop(inbox, "a.csv")
    (found,) = inbox.drops()
    inbox.take(found)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Inbox, "_put_away", die)
        with pytest.raises(KeyboardInterrupt):
            inbox.reject(found, "line 3 is wrong")
    assert inbox.drops() == [found]
    inbox.reject(found, "line 3 is wrong")
    assert tree(inbox) == ["rejected/a.csv", "rejected/a.csv.error.txt"]


@pytest.mark.parametrize("name", ["candles-5m.csv", "candles/5m/may.csv", "5m/x", "may_2025.5m.csv"])
def test_the_name_says_how_long_candles_are(tmp_path, name):
    candles().write_csv(tmp_path / "x")
    table, timeframe = kind_of(tmp_path / "x", name)
    assert (table.name, timeframe) == ("candles", "5m")


@pytest.mark.parametrize("name", ["calls.csv", "may-5m.csv", "x"])
def test_calls_are_known_by_their_columns(tmp_path, name):
    calls().write_parquet(tmp_path / "x")
    table, timeframe = kind_of(tmp_path / "x", name)
    assert (table.name, timeframe) == ("calls", None)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("candles.csv", "does not say: how long are its candles"), ("candles/5m/1h.csv", "names 1h and 5m: how long")],
)
def test_candles_of_no_known_length_are_refused_with_what_to_do(tmp_path, name, wrong):
    candles().write_csv(tmp_path / "x")
    with pytest.raises(LakeError, match=wrong) as error:
        kind_of(tmp_path / "x", name)
    assert "candles-5m.csv" in str(error.value)


@pytest.mark.parametrize(("name", "missing"), [("calls.csv", "caller"), ("candles-5m.csv", "close")])
def test_a_file_of_neither_kind_is_measured_by_its_name(tmp_path, name, missing):
    (tmp_path / "x").write_text("mint,what\nAAA,1\n")
    with pytest.raises(LakeError, match=f"no column .*{missing}"):
        kind_of(tmp_path / "x", name)
