"""Folds with purge and embargo by the windows of calls, against an independent library and by the definition."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from purgedcv import CombinatorialPurgedCV

from lab_pipeline.statistics.selection.cells import DAY_MS
from lab_pipeline.statistics.selection.folds import Walk, Windows, combinatorial, hold_out, path_of, walk_forward
from lab_pipeline_tests.statistics.selection.worlds import START, midnights

gaps = st.lists(st.integers(1, 3), min_size=12, max_size=60)
windows_ms = st.integers(0, 4 * DAY_MS)


def calendar(steps, window):
    """Make days with gaps and when the last window of each ends: a call at noon looks that far."""
    days = START + np.cumsum(steps) * DAY_MS
    return days, days + DAY_MS // 2 + window


def stamps(milliseconds):
    return pd.Series(pd.to_datetime(milliseconds, unit="ms"))


@settings(deadline=None)  # a busy machine is no failure
@given(steps=gaps, window=windows_ms, embargo=st.integers(0, 3))
def test_combinatorial_folds_are_purgedcvs(steps, window, embargo):
    days, reach = calendar(steps, window)
    ours = combinatorial(days, reach, groups=6, tested=2, embargo_days=embargo)
    # Their embargo includes its last instant, at which a day may begin; ours ends with it.
    last = pd.Timedelta(milliseconds=embargo * DAY_MS - 1) if embargo else None
    theirs = CombinatorialPurgedCV(6, 2, prediction_times=stamps(days), evaluation_times=stamps(reach), embargo=last)
    folds = list(theirs.split(np.zeros((len(days), 1))))
    assert len(ours) == len(folds) == 15
    for fold, (train, test) in zip(ours, folds, strict=True):
        np.testing.assert_array_equal(np.flatnonzero(fold.test), np.sort(test))
        np.testing.assert_array_equal(np.flatnonzero(fold.train), np.sort(train))


@settings(deadline=None)  # a busy machine is no failure
@given(steps=gaps, window=windows_ms, embargo=st.integers(0, 3), anchored=st.booleans())
def test_a_walk_never_trains_on_what_its_test_shows(steps, window, embargo, anchored):
    days, reach = calendar(steps, window)
    kind = Walk.ANCHORED if anchored else Walk.ROLLING
    folds = walk_forward(days, reach, Windows(kind, train_days=9, test_days=4, step_days=5, embargo_days=embargo))
    for fold in folds:
        assert (reach[fold.train] <= fold.test_start).all()
        assert (days[fold.train] + DAY_MS <= fold.test_start - embargo * DAY_MS).all()
        assert (days[fold.test] >= fold.test_start).all()
        assert (days[fold.test] < fold.test_end).all()
        assert not (fold.train & fold.purged).any()
        before = (days >= fold.train_start) & (days < fold.train_end)
        np.testing.assert_array_equal(fold.train | fold.purged, before)
    assert not folds or sum(fold.test.astype(int) for fold in folds).max() <= 1


def test_a_rolling_walk_by_hand():
    days = midnights(10)
    folds = walk_forward(days, days + DAY_MS, Windows(Walk.ROLLING, 4, 2, 3, 1))
    assert [np.flatnonzero(fold.train).tolist() for fold in folds] == [[0, 1, 2], [3, 4, 5]]
    assert [np.flatnonzero(fold.purged).tolist() for fold in folds] == [[3], [6]]
    assert [np.flatnonzero(fold.test).tolist() for fold in folds] == [[4, 5], [7, 8]]
    assert [(fold.train_start - START) // DAY_MS for fold in folds] == [0, 3]


def test_an_anchored_walk_by_hand_and_its_last_test_is_shorter():
    days = midnights(9)
    folds = walk_forward(days, days + DAY_MS, Windows(Walk.ANCHORED, 4, 3, 3, 0))
    assert [np.flatnonzero(fold.train).tolist() for fold in folds] == [[0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]]
    assert [np.flatnonzero(fold.test).tolist() for fold in folds] == [[4, 5, 6], [7, 8]]


def test_a_window_that_ends_with_the_days_before_the_test_may_train():
    days = midnights(6)
    for late, purged in ((0, []), (1, [3])):
        fold = walk_forward(days, days + DAY_MS + late, Windows(Walk.ROLLING, 4, 2, 2, 0))[0]
        assert np.flatnonzero(fold.purged).tolist() == purged


def test_too_few_days_have_no_fold():
    days = midnights(5)
    assert walk_forward(days, days + DAY_MS, Windows(train_days=5)) == []
    assert walk_forward(days[:0], days[:0], Windows()) == []
    assert combinatorial(days, days + DAY_MS, groups=6) == []


@pytest.mark.parametrize(("groups", "tested", "paths"), [(10, 2, 9), (6, 2, 5), (6, 3, 10), (4, 1, 1)])
def test_every_path_tests_every_group_once_and_uses_every_fold(groups, tested, paths):
    of_path = path_of(groups, tested)
    assert of_path.shape == (paths, groups)
    for group in range(groups):
        assert len(set(of_path[:, group])) == paths
    assert set(of_path.ravel()) == set(range(of_path.max() + 1))


def test_paths_are_those_of_the_book():
    """López de Prado 2018, figure 12.2: six groups, two tested; folds of each path."""
    assert (path_of(6, 2) + 1).tolist() == [
        [1, 1, 2, 3, 4, 5],
        [2, 6, 6, 7, 8, 9],
        [3, 7, 10, 10, 11, 12],
        [4, 8, 11, 13, 13, 14],
        [5, 9, 12, 14, 15, 15],
    ]


def test_the_holdout_is_the_last_days_and_nothing_that_selects_reaches_into_it():
    days = midnights(10)
    selects, held = hold_out(days, days + DAY_MS + 1, 0.2)
    assert np.flatnonzero(held).tolist() == [8, 9]
    assert np.flatnonzero(selects).tolist() == [0, 1, 2, 3, 4, 5, 6]
    selects, held = hold_out(days, days + DAY_MS, 0.21)
    assert (selects.sum(), held.sum()) == (7, 3)
    assert hold_out(days, days + DAY_MS, 0.0)[0].all()
    with pytest.raises(ValueError, match=r"below 1, is 1\.0"):
        hold_out(days, days, 1.0)


@pytest.mark.parametrize(
    ("lengths", "words"), [({"train_days": 0}, "at least 1"), ({"test_days": 5, "step_days": 4}, "tested twice")]
)
def test_windows_that_cannot_be_walked_are_refused(lengths, words):
    with pytest.raises(ValueError, match=words):
        Windows(**lengths)
