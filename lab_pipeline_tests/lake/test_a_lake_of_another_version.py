"""A lake of a later version is neither read nor written; one without tables is taken in as it is, whatever happens."""

import json
import shutil
import threading

import polars as pl
import pytest

from lab_pipeline.lake import Lake, LakeDamagedError, LakeError, adoption, commit, tables
from lab_pipeline_tests.lake.samples import as_of_layout_1, calls, candles, everything, files_of, snapshot

OLD = candles(["AAA", "BBB"], 20)
MORE = candles(["CCC"], 20)


def content(lake):
    return {str(path.relative_to(lake.root)): path.read_bytes() for path in lake.root.rglob("*") if path.is_file()}


@pytest.fixture
def later(lake):
    """A lake that a later version has left in the middle of a commit."""
    lake.write_candles(OLD, "1m")
    (lake.root / adoption.LAYOUT_FILE).write_text("99\n")
    (lake.root / commit.STAGING).mkdir(exist_ok=True)
    (lake.root / commit.STAGING / "part").write_text("rows")
    return lake


@pytest.mark.parametrize(
    "use",
    [
        everything,
        lambda lake: lake.mints("1m"),
        lambda lake: lake.calls(),
        lambda lake: lake.candles_count("1m"),
        lambda lake: lake.write_candles(MORE, "1m"),
        lambda lake: lake.leftovers(),
        lambda lake: lake.leftovers(remove=True),
    ],
)
def test_a_lake_of_a_later_version_is_refused_and_left_alone(later, use):
    before = content(later)
    with pytest.raises(LakeError, match=r"the lake .* was written in layout 99 by a later version.*: update it"):
        use(Lake(later.root))
    assert content(later) == before


def test_a_new_lake_records_its_layout(lake):
    lake.write_candles(OLD, "1m")
    assert (lake.root / adoption.LAYOUT_FILE).read_text() == "2\n"


def test_a_damaged_record_is_named(lake):
    lake.write_candles(OLD, "1m")
    (lake.root / adoption.LAYOUT_FILE).write_text("")
    with pytest.raises(LakeError, match=r"/\.layout is damaged"):
        everything(lake)


@pytest.fixture
def old(lake):
    """A lake of the layout before."""
    lake.write_candles(OLD, "1m")
    lake.write_candles(OLD.with_columns(liquidity=pl.lit(5.0)), "1m")
    lake.write_calls(calls(3))
    as_of_layout_1(lake)
    return Lake(lake.root)


@pytest.mark.parametrize("record", ["as it was", "none", "damaged"])
def test_a_lake_without_tables_is_taken_in_by_whoever_opens_it_first(old, record):
    if record == "none":
        (old.root / adoption.LAYOUT_FILE).unlink()
        (old.root / adoption.INVENTORY).unlink()
    elif record == "damaged":
        (old.root / adoption.INVENTORY).write_bytes(b"{")
    files = {path: path.stat().st_ino for path in old.root.rglob("part-*.parquet")}
    assert everything(old).equals(OLD)
    assert (old.calls().height, old.candles_count("1m"), old.has_liquidity("1m")) == (3, 40, True)
    assert old.candles_extent("1m") == (OLD["timestamp"].min(), OLD["timestamp"].max())
    assert {path: path.stat().st_ino for path in old.root.rglob("part-*.parquet")} == files
    assert (old.root / adoption.LAYOUT_FILE).read_text() == "2\n"
    assert not (old.root / adoption.INVENTORY).exists()
    old.write_candles(MORE, "1m")
    assert everything(old).height == OLD.height + MORE.height


def test_it_has_the_same_snapshot_as_before(lake):
    lake.write_candles(OLD, "1m")
    before = snapshot(lake)
    as_of_layout_1(lake)
    assert snapshot(Lake(lake.root)) == before


def test_what_it_has_lost_is_missed(old):
    lost = next(iter(old.root.rglob("timeframe=1m/*/part-*.parquet")))
    lost.unlink()
    with pytest.raises(LakeDamagedError, match=f"{lost} is lost"):
        everything(old)


def test_a_commit_that_was_recorded_is_carried_out(old):
    new = old.root / ".staging" / "new.parquet"
    new.parent.mkdir(exist_ok=True)
    (calls_file,) = (old.root / "calls").glob("part-*.parquet")
    shutil.copy(calls_file, new)
    moved = {"moves": [[".staging/new.parquet", "calls/part-new.parquet"]], "removals": [f"calls/{calls_file.name}"]}
    (old.root / adoption.RECORD).write_text(json.dumps(moved))
    (old.root / adoption.INVENTORY).write_text(
        json.dumps(
            {
                name: size
                for name, size in json.loads((old.root / adoption.INVENTORY).read_text()).items()
                if "calls" not in name
            }
            | {"calls/part-new.parquet": new.stat().st_size}
        )
    )
    assert old.calls().height == 3
    assert [path.name for path in (old.root / "calls").glob("part-*")] == ["part-new.parquet"]
    assert not (old.root / adoption.RECORD).exists()


class Died(BaseException):
    """Ends a process on the spot: no handler for errors catches it."""


@pytest.mark.parametrize("step", ["first table", "second table", "layout"])
def test_a_process_that_is_killed_meanwhile_leaves_it_to_the_next(old, monkeypatch, step):
    made = []
    create = tables.create

    def dying(store, table, additions=()):
        made.append(table)
        if step != "layout" and len(made) == {"first table": 1, "second table": 2}[step]:
            raise Died
        create(store, table, additions)
        if step == "layout" and len(made) == 2:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(tables, "create", dying)
        with pytest.raises(Died):
            everything(old)
    assert (old.root / adoption.LAYOUT_FILE).read_text() == "1\n"
    assert everything(old).equals(OLD)
    assert (old.calls().height, len(files_of(old))) == (3, 3)


def test_several_that_open_it_at_once_take_it_in_once(old):
    found = []
    readers = [threading.Thread(target=lambda: found.append(everything(Lake(old.root)).height)) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == [OLD.height] * 4
    assert tables.snapshot(old.store, tables.TABLES[0]).version == 1
