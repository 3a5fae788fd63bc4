from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from simlab import api, world

# How long an example takes says nothing on a machine that others use too; the rest stays as it is, in CI as well.
settings.register_profile("unhurried", parent=settings.default, deadline=None)
settings.load_profile("unhurried")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """As many as there are cores for the whole suite; none for tests that were named, which would wait for them."""
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else None


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="session")
def let_go() -> Any:
    """Forget what was compiled, and the worlds of it."""

    def forget() -> None:
        api._compiled.cache_clear()
        world._seeded.cache_clear()

    return forget


@pytest.fixture
def documents_let_go(let_go: Any) -> Iterator[None]:
    yield
    let_go()
