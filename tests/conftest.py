"""What every test shares."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For the second and later Pythons of one run: what differs between Pythons shows in a few examples.
settings.register_profile("few", settings.get_profile("default"), max_examples=20)
settings.load_profile("default")
