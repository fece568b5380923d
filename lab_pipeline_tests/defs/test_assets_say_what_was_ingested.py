import dagster as dg

from lab_pipeline.defs.lake.assets import CandleFiles, candles
from lab_pipeline.defs.lake.metadata import ingest_metadata
from lab_pipeline.defs.operations.resources import LabResource, LakeResource
from lab_pipeline.lake.ingest import IngestReport


def test_what_was_not_taken_and_what_was_taken_by_force():
    report = IngestReport(
        ignored_columns={"a.csv": [f"c{number}" for number in range(30)]},
        left_out={"b.csv": 1200},
        forced={"c.csv": "1h"},
    )
    said = {name: value.value for name, value in ingest_metadata(report).items()}
    assert said["ignored columns"]["a.csv"].endswith("c19 and 10 more")
    assert (said["left out"], said["forced"]) == ({"b.csv": "1,200 rows"}, {"c.csv": "seems to be of 1h"})
    assert set(ingest_metadata(IngestReport())) == {"ingested", "added", "changed", "unchanged"}


def test_a_materialisation_takes_what_the_command_line_takes(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    path = tmp_path / "home" / "inbox" / "tv.csv"
    path.parent.mkdir(parents=True)
    lines = [f"{1735689600 + hour * 3600},1,2,0.5,1.5,10,{length}\n" for hour, length in enumerate(["5m"] * 6 + ["1h"])]
    path.write_text("time,open,high,low,close,volume,interval\n" + "".join(lines))
    config = CandleFiles(files=[str(path)], timeframe="5m", mint="So111", matching_only=True, force=True)
    done = dg.materialize(
        [candles],
        resources={"lab": LabResource(), "lake": LakeResource()},
        run_config=dg.RunConfig(ops={"lake__candles": config}),
    )
    (event,) = done.asset_materializations_for_node("lake__candles")
    assert event.metadata["added"].value == 6
    assert event.metadata["left out"].value == {str(path): "1 rows"}
    assert event.metadata["forced"].value == {str(path): "seems to be of 1h"}
