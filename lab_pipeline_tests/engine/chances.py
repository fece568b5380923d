"""How many cases the generated comparisons of the two engines try."""

import pytest
from hypothesis import HealthCheck, settings

RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
PROFILE = settings.get_current_profile_name()
"""pytest's option --hypothesis-profile; the top conftest.py has them."""
THOROUGH = PROFILE == "thorough"
MARKETS, HANDFULS = {"quick": (20, 40), "thorough": (250, 2_500)}.get(PROFILE, (80, 150))
parts = pytest.mark.parametrize("part", range(4 if THOROUGH else 1))  # of chance each; for several processes
FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
