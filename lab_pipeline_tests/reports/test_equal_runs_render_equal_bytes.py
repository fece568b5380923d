import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from lab_pipeline.reports import equity_picture, render_report
from lab_pipeline_tests.reports.synthetic import IDENTITY, SPEC, made_up_run

RENDER = """
import hashlib
from lab_pipeline.reports import equity_picture, render_report
from lab_pipeline_tests.reports.synthetic import IDENTITY, SPEC, made_up_run
run = made_up_run()
print(hashlib.sha256(render_report(run, SPEC, **IDENTITY).encode()).hexdigest())
print(hashlib.sha256(equity_picture(run.equity, initial_capital=10_000.0).encode()).hexdigest())
"""


def test_another_process_in_another_place_makes_the_same_bytes():
    ours = _digests({"PYTHONHASHSEED": "1"})
    assert ours == _digests({"PYTHONHASHSEED": "2", "LC_ALL": "de_DE.UTF-8", "TZ": "America/New_York"})
    assert len(ours) == 2


def test_threads_do_not_disturb_one_another(html, run):
    with ThreadPoolExecutor(4) as pool:
        pages = [pool.submit(render_report, run, SPEC, **IDENTITY) for _ in range(4)]
        pictures = [pool.submit(equity_picture, run.equity, initial_capital=10_000.0) for _ in range(4)]
        assert {page.result() for page in pages} == {html}
        assert len({picture.result() for picture in pictures}) == 1


def test_the_order_of_rows_does_not_matter(html, run):
    shuffled = made_up_run()
    for name in ("trades", "paths", "outcomes"):
        object.__setattr__(shuffled, name, getattr(run, name).sample(fraction=1.0, shuffle=True, seed=5))
    tables = html[html.index("What became of the calls") :]
    page = render_report(shuffled, SPEC, **IDENTITY)
    assert page[page.index("What became of the calls") :] == tables


def test_a_different_run_makes_different_bytes(html):
    assert render_report(made_up_run(seed=2), SPEC, **IDENTITY) != html


def _digests(environment):
    done = subprocess.run(
        [sys.executable, "-c", RENDER], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()
