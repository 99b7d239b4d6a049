import pytest


@pytest.fixture(scope="module")
def federation(real_federation):
    """The real federation for a module that kills parts of it: started, and stopped for the next one."""
    real_federation.start()
    yield real_federation
    real_federation.stop()
