import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page):
    return re.findall(r"(?m)^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL)


def test_frames_are_simulated_and_swept():
    frames, rules, _ = blocks("python.md")
    names = {}
    exec(frames, names)  # noqa: S102 - our own documentation
    assert names["result"].summary.trades > 1_000
    exec(rules, names)  # noqa: S102 - as above
    assert names["result"].sets.height == 30


def test_the_sweep_of_its_own_page_is_one_block_data_and_all():
    names = {}
    exec(blocks("sweeps.md")[0], names)  # noqa: S102 - our own documentation
    assert names["result"].best(5).height == 5


def test_a_home_is_read(run):
    *_, home = blocks("python.md")
    names = {}
    exec(home, names)  # noqa: S102 - our own documentation
    assert names["run"].run_id == run.run_id
