"""The interface: whatever the registry makes answers all of it, and in agreement with itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credgate.config.schema import ForgeConfig
from credgate.forges.driver import Driver
from credgate.forges.registry import driver_for

DRIVERS = [
    driver_for(ForgeConfig("github.com", "github", "https://github.com")),
    driver_for(ForgeConfig("lab", "generic", "https://lab.example/x")),
]


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_driver_has_every_attribute(driver: Driver) -> None:
    """Types say so to mypy; this says so to whoever adds a driver without running it."""
    missing = [name for name in vars(Driver) if not name.startswith("_") and not hasattr(driver, name)]
    assert missing == []


# sampled, not parametrized: pytest-twisted runs @given inside its own greenlet only once
@given(
    driver=st.sampled_from(DRIVERS), spelled=st.from_regex(r"[aB._-]{1,4}(/[aB._~-]{1,4}){0,2}(\.git)?", fullmatch=True)
)
def test_a_redirect_to_the_path_it_builds_leads_back(driver: Driver, spelled: str) -> None:
    """What a driver sends and what it recognises are one form: path and moved are inverse up to normal."""
    normal = driver.normal(spelled)
    if normal is not None:
        target = driver.path(spelled, "info/refs?service=git-upload-pack", dot_git=True)
        assert driver.moved(target.encode()) == normal
        assert driver.normal(normal) == normal
        assert driver.normal_pattern(spelled) == normal
