import subprocess
import sys
from pathlib import Path

import polars as pl

from lab_pipeline_tests.lake.samples import candles, everything

PROGRAM = Path(__file__).with_name("ingest_process.py")
MINTS = [f"mint-{number}" for number in range(12)]


def test_different_and_overlapping_files(lake, tmp_path):
    rows = candles(MINTS, 100)
    pieces = [rows[0:700], rows[500:1200], rows.sample(400, seed=1)]
    commands = []
    for number, piece in enumerate(pieces):
        path = tmp_path / f"{number}.parquet"
        piece.write_parquet(path)
        commands.append([sys.executable, PROGRAM, lake.root, "0", path])
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    sizes = [0]
    while any(process.poll() is None for process in running):
        found = everything(lake)
        assert found.join(rows, on=rows.columns, how="anti").is_empty()
        sizes.append(found.height)
    assert [process.returncode for process in running] == [0] * len(pieces)
    assert sizes == sorted(sizes)
    assert everything(lake).equals(rows.sort("mint", "timestamp"))


def test_readers_see_whole_ingests_only(lake, tmp_path):
    rows = candles(MINTS, 50)
    lake.write_candles(rows, "1m")
    versions = []
    for number in range(1, 3):
        path = tmp_path / f"{number}.parquet"
        rows.with_columns(volume=pl.lit(float(number))).write_parquet(path)
        versions.append(path)
    lake.write_candles(rows.with_columns(volume=pl.lit(0.0)), "1m")
    running = [
        subprocess.Popen([sys.executable, PROGRAM, lake.root, "0", path], stdout=subprocess.DEVNULL)
        for path in versions
    ]
    seen = set()
    while any(process.poll() is None for process in running):
        volumes = everything(lake)["volume"].unique().to_list()
        assert len(volumes) == 1
        seen.update(volumes)
    seen.update(everything(lake)["volume"].unique().to_list())
    assert len(seen) > 1
    assert seen <= {0.0, 1.0, 2.0}
