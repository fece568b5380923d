"""How far the best of many parameter sets can be believed: pure functions over sums of sets by days."""

from lab_pipeline.statistics.selection.caller_rules import p_values, q_values
from lab_pipeline.statistics.selection.cells import DayCells, Minimum, Objective
from lab_pipeline.statistics.selection.folds import Walk, Windows, hold_out
from lab_pipeline.statistics.selection.placebo import best_objective
from lab_pipeline.statistics.selection.selecting import Choice, Evidence, Selection, Validation, assess, choose
from lab_pipeline.statistics.selection.sharpe import effective_trials
from lab_pipeline.statistics.selection.stress import stop_fill_sensitivity
from lab_pipeline.statistics.selection.verdict import Part, Verdict

__all__ = [
    "Choice",
    "DayCells",
    "Evidence",
    "Minimum",
    "Objective",
    "Part",
    "Selection",
    "Validation",
    "Verdict",
    "Walk",
    "Windows",
    "assess",
    "best_objective",
    "choose",
    "effective_trials",
    "hold_out",
    "p_values",
    "q_values",
    "stop_fill_sensitivity",
]
