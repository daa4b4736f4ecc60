"""How hard the property tests look, everywhere: HYPOTHESIS_PROFILE=thorough for ten times the everyday examples."""

import os

from hypothesis import settings

settings.register_profile("everyday", max_examples=40)
settings.register_profile("thorough", max_examples=400)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "everyday"))
