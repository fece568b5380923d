import pytest

from lab_pipeline.engine import reference, simulate

from .market import Engine


@pytest.fixture(params=["reference", "kernel"])
def engine(request) -> Engine:
    """Both implementations of the contract: what a test asks of one, it asks of the other."""
    return {"reference": reference.simulate, "kernel": simulate}[request.param]
