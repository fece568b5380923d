"""How capital is shared among rules or callers, judged on days that the shares were not made from: pure functions."""

from lab_pipeline.statistics.allocation.walking import Allotment, walk_allocations
from lab_pipeline.statistics.allocation.weights import Method, Terms, ledoit_wolf, shrunk_means, weigh

__all__ = ["Allotment", "Method", "Terms", "ledoit_wolf", "shrunk_means", "walk_allocations", "weigh"]
