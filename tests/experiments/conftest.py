"""The experiments train with optax, whose own arithmetic mixes integer and float types."""

import jax
import pytest

from experiments.system.errors import UserError
from experiments.tasks import packages


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """A test whose data is not installed is skipped, and says how to install it; CI installs all of it."""
    return (yield from _skipped_without_data())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """As above, for what a test loads itself."""
    return (yield from _skipped_without_data())


def _skipped_without_data():
    try:
        return (yield)
    except UserError as error:
        if any("which is not installed" in line and packages.INSTALL in line for line in error.messages):
            pytest.skip(str(error.messages[0]))
        raise


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    """JAX's usual promotion, in place of the strict one that the library's tests run under."""
    with jax.numpy_dtype_promotion("standard"):
        yield
