"""How hard the property tests look, everywhere, and how many tests run at once.

HYPOTHESIS_PROFILE=thorough tries ten times the everyday examples.
"""

import os

from hypothesis import settings

settings.register_profile("everyday", max_examples=40)
settings.register_profile("thorough", max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))


def pytest_xdist_auto_num_workers() -> int:
    """Two to a core, up to --maxprocesses: many tests wait for processes that they have started."""
    return 2 * (os.cpu_count() or 1)
