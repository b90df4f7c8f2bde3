"""Fixtures and settings that every test area shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Test machines are shared and slow by turns: how long an example took says nothing about the code.
settings.register_profile("tocsin", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tocsin")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory of reference material beside the checkout; a visible skip where there is none.

    The product never needs it. TOCSIN_TESTS_MAY_NOT_SKIP, which turns skips into failures elsewhere,
    has no say here: a stranger's checkout does not have the directory and is still whole.
    """
    directory = Path(__file__).resolve().parents[1].parent / "shared"
    if not directory.is_dir():
        pytest.skip("no reference material: the directory `shared` beside the checkout is absent")
    return directory
