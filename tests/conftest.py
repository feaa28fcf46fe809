"""Settings of the whole suite."""

import pytest
from hypothesis import settings

# The same examples in every run, as all seeds are fixed; and no time limit on one, which a busy machine would break.
settings.register_profile("dropstats", derandomize=True, deadline=None)
settings.load_profile("dropstats")


@pytest.fixture
def seeded_torch():
    """Let torch draw the same numbers in every test, on one thread."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
