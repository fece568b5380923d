import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from lab_pipeline.lake import Inbox, LakeError
from lab_pipeline.lake.inbox import hints_of, kind_of
from lab_pipeline.lake.layout import CANDLES
from lab_pipeline_tests.support.markets import calls, candles


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


def test_a_column_says_how_long_candles_are_where_the_name_does_not(tmp_path):
    candles().with_columns(interval=pl.lit("1m")).write_csv(tmp_path / "x")
    assert kind_of(tmp_path / "x", "candles.csv")[1] == "1m"
    assert kind_of(tmp_path / "x", "candles-5m.csv")[1] == "5m"
    candles().with_columns(interval=pl.Series(["1m", "5m"] * 120)).write_csv(tmp_path / "x")
    assert kind_of(tmp_path / "x", "candles.csv") == (CANDLES, None), "each row as it says"
    candles().with_columns(interval=pl.Series(["1m", "spot"] * 120)).write_csv(tmp_path / "x")
    with pytest.raises(LakeError, match="interval: 'spot' is no length"):
        kind_of(tmp_path / "x", "candles.csv")


def test_a_directory_says_whose_candles_they_are_where_no_column_does(tmp_path):
    candles().drop("mint").write_csv(tmp_path / "x")
    assert kind_of(tmp_path / "x", "mint=5m/candles/1h.csv") == (CANDLES, "1h")
    assert hints_of("mint=5m/candles/1h.csv").mint == "5m"
    assert hints_of("mint=5m.csv").mint is None
    assert kind_of(tmp_path / "x", "mint-from-name/So111-1h.csv") == (CANDLES, "1h")
    with pytest.raises(LakeError, match=r"has no column mint: .*a directory mint=MINT in the inbox"):
        kind_of(tmp_path / "x", "candles/1h.csv")
    candles().write_csv(tmp_path / "x")
    with pytest.raises(LakeError, match="has a column mint: a mint can be given only to a file that has none"):
        kind_of(tmp_path / "x", "mint=AAA/1h.csv")


def test_attempts_that_came_to_no_end_are_counted(inbox):
    drop(inbox, "a.csv")
    (found,) = inbox.drops()
    inbox.take(found)
    for ending in (LakeError("wrong"), OSError("disk"), KeyboardInterrupt()):
        with pytest.raises(type(ending)), inbox.attempt(found):
            raise ending
    with inbox.attempt(found):
        pass
    assert inbox.attempts(found) == 0
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), inbox.attempt(found):
            1 / 0  # noqa: B018 - an error that nobody foresaw
    assert inbox.attempts(found) == 2
    assert inbox.drops() == [found]
    inbox.finish(found)
    assert tree(inbox) == ["done/a.csv"]


MISNAMED = os.fsdecode(b"M\xfcnchen-1m.csv")


def test_a_name_that_is_not_text_is_made_so(inbox):
    drop(inbox, f"{MISNAMED[0]}\udcfc/{MISNAMED}", "mine")
    drop(inbox, "good.csv")
    found = next(one for one in inbox.drops() if one.name != "good.csv")
    assert found.name == "M_/M_nchen-1m.csv"
    assert not inbox.is_being_written(found)
    assert inbox.take(found).read_text() == "mine"
    assert found in inbox.drops()
    assert inbox.finish(found) == inbox.root / "done/M_/M_nchen-1m.csv"
    assert names(inbox) == ["good.csv"]


def test_files_whose_names_read_alike_are_told_apart(inbox):
    texts = {"M_nchen-1m.csv": "a", MISNAMED: "b", os.fsdecode(b"M\xfdnchen-1m.csv"): "c"}
    for name, text in texts.items():
        drop(inbox, name, text)
    found = inbox.drops()
    assert {one.name for one in found} == {"M_nchen-1m.csv"}
    assert sorted(inbox.take(one).read_text() for one in found) == ["a", "b", "c"]
    assert sorted(inbox.finish(one).read_text() for one in found) == ["a", "b", "c"]
    assert len(tree(inbox)) == 3


def test_a_misnamed_file_that_is_open_to_be_written_is_not_taken(inbox):
    path = drop(inbox, MISNAMED)
    (found,) = inbox.drops()
    with path.open("a"):
        assert inbox.is_being_written(found)
        assert inbox.take(found) is None
    assert inbox.take(found) is not None


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "x" * 246, "ü" * 127, "x." + "y" * 253])
def test_the_longest_names_are_rejected_with_their_errors(inbox, name):
    for text in ("first", "second"):
        drop(inbox, name, text)
        (found,) = inbox.drops()
        inbox.take(found)
        inbox.reject(found, f"{text} is wrong")
    files = [path for path in (inbox.root / "rejected").iterdir() if not path.name.endswith(".error.txt")]
    assert sorted(path.read_text() for path in files) == ["first", "second"]
    assert (inbox.root / "rejected" / name).read_text() == "first"
    errors = [path for path in (inbox.root / "rejected").iterdir() if path.name.endswith(".error.txt")]
    assert sorted(path.read_text() for path in errors) == ["first is wrong\n", "second is wrong\n"]
    assert all(path.name.startswith(name[:80]) for path in files + errors)


def test_long_names_that_begin_alike_have_errors_of_their_own(inbox):
    for last in "ab":
        drop(inbox, "x" * 250 + last)
    for found in inbox.drops():
        inbox.take(found)
        inbox.reject(found, f"{found.name[-1]} is wrong")
    errors = (inbox.root / "rejected").glob("*.error.txt")
    assert sorted(path.read_text() for path in errors) == ["a is wrong\n", "b is wrong\n"]


def test_the_longest_name_is_put_beside_another_of_its_kind(inbox):
    for text in ("first", "second"):
        drop(inbox, "x" * 251 + ".csv", text)
        (found,) = inbox.drops()
        inbox.take(found)
        kept = inbox.finish(found)
    assert kept.read_text() == "second"
    assert kept.name.endswith(f".{found.key}.csv")


def test_a_directory_that_is_called_as_an_earlier_file_is_put_beside_it(inbox):
    for name in ("may", "may/a.csv"):
        drop(inbox, name, name)
        (found,) = inbox.drops()
        inbox.take(found)
        kept = inbox.finish(found)
    assert kept == inbox.root / f"done/may.{found.key}/a.csv"
    assert kept.read_text() == "may/a.csv"


def test_a_link_is_taken_only_if_it_leads_to_the_same_file_from_elsewhere(inbox):
    there = drop(inbox, ".hidden/a.csv")
    (inbox.root / "relative.csv").symlink_to(".hidden/a.csv")
    (inbox.root / "absolute.csv").symlink_to(there)
    absolute, relative = inbox.drops()
    assert inbox.take(absolute).read_text() == "x"
    assert relative.name == "relative.csv"
    assert "a link that leads nowhere from elsewhere" in relative.obstacle


def test_a_file_that_cannot_be_moved_stays_where_it_was(inbox, monkeypatch):
    drop(inbox, "a.csv")
    (found,) = inbox.drops()

    def refuse(*_):
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(OSError, match="cross-device"):
            inbox.take(found)
    assert inbox.drops() == [found]
    assert list((inbox.root / ".taken").iterdir()) == []


NOBODY = 65534


@pytest.fixture
def shared():
    """An inbox below a directory into which every user may look."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        inbox = Inbox(Path(directory) / "inbox")
        inbox.root.mkdir()
        yield inbox


@contextmanager
def as_user_of(inbox):
    """Be the ordinary user whose inbox it is: permissions are nothing to root."""
    before = os.geteuid()
    if before == 0:
        for path in (inbox.root, *inbox.root.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_that_may_not_be_read_is_taken_and_rejected(shared):
    drop(shared, "a.csv").chmod(0)
    with as_user_of(shared):
        (found,) = shared.drops()
        assert found.obstacle is None
        assert not shared.is_being_written(found)
        path = shared.take(found)
        with pytest.raises(LakeError, match="cannot be read: Permission denied"):
            kind_of(path, found.name)
        shared.reject(found, "no")
        assert tree(shared) == ["rejected/a.csv", "rejected/a.csv.error.txt"]


@pytest.mark.parametrize(
    ("mode", "name", "obstacle"),
    [
        (0o000, "locked", "it cannot be looked at (Permission denied)"),
        (0o400, "locked/a.csv", "it cannot be looked at (Permission denied)"),
        (0o500, "locked/a.csv", "it cannot be moved: this user may not write in its directory"),
    ],
)
def test_what_cannot_be_reached_or_moved_is_told_apart(shared, mode, name, obstacle):
    drop(shared, "locked/a.csv")
    drop(shared, "good.csv")
    with as_user_of(shared):
        (shared.root / "locked").chmod(mode)
        try:
            good, stuck = shared.drops()
        finally:
            (shared.root / "locked").chmod(0o700)
    assert (good.name, good.obstacle) == ("good.csv", None)
    assert (stuck.name, stuck.obstacle) == (name, obstacle)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes files of two users")
def test_a_file_of_another_user_in_a_sticky_directory_is_told_apart(shared):
    shared.root.chmod(0o1777)
    drop(shared, "theirs.csv")
    os.chown(drop(shared, "mine.csv"), NOBODY, NOBODY)
    os.seteuid(NOBODY)
    try:
        mine, theirs = shared.drops()
    finally:
        os.seteuid(0)
    assert (mine.name, mine.obstacle, theirs.name) == ("mine.csv", None, "theirs.csv")
    assert "only their owners may move" in theirs.obstacle


def test_an_inbox_that_may_not_be_looked_into_says_so(shared):
    with as_user_of(shared):
        shared.root.chmod(0o300)
        try:
            (stuck,) = shared.drops()
        finally:
            shared.root.chmod(0o700)
    assert (stuck.name, stuck.obstacle) == (str(shared.root), "it cannot be looked at (Permission denied)")
