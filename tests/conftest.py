"""Real models and real servers, shared as widely as tests allow."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onnxpress.packages.forest.engine import NO_KERNEL, Forest
from onnxpress.server.settings import options
from tests.model_repository import Models, build, copy_version, deploy_on_disk
from tests.server_process import ServerProcess

# Suites that cross the rooms run on every front that a server can be started with.
FRONTS = next(tuple(one.choices or ()) for one in options() if one.name == "front")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what needs the kernel of compiled forests where it could not be built."""
    if Forest is None and item.get_closest_marker("kernel"):
        pytest.skip(NO_KERNEL)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Every model of the tests, converted once."""
    return build(tmp_path_factory.mktemp("models"))


@pytest.fixture
def start(tmp_path: Path, models: Models) -> Iterator[Callable[..., ServerProcess]]:
    """`start("numbers", ...)`: a server of its own on a copy of these models, killed at the end of the test.

    `tried`: models of one version were deployed before, so that the start skips their preflight and is quicker.
    """
    with ExitStack() as stack:

        def starting(
            *names: str, flags: tuple[str, ...] = (), front: str = "native", tried: bool = False
        ) -> ServerProcess:
            repository = tmp_path / "repository"
            if not repository.exists():
                models.copy(repository, *names)
                for name in names if tried else ():
                    deploy_on_disk(repository, name, live=1)
            return stack.enter_context(ServerProcess(repository, *flags, front=front)).ready()

        yield starting


@pytest.fixture(scope="session", params=FRONTS)
def server(
    request: pytest.FixtureRequest, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """One server per front for every test that leaves it as it was: no deploys, no stop."""
    repository = models.copy(tmp_path_factory.mktemp("shared"), "numbers", "heavy", "churn", "price", "bare")
    shutil.rmtree(repository / "numbers/3")
    deploy_on_disk(repository, "numbers", live=2, previous=1)
    for name in ("heavy", "churn", "price"):
        deploy_on_disk(repository, name, live=1)
    (repository / "broken/1").mkdir(parents=True)
    (repository / "broken/1/model.onnx").write_bytes(b"no model")
    copy_version(repository / "price/1", 2)
    # Answers are what these tests are about: a busy machine must not make the forecast refuse any.
    with ServerProcess(repository, "--latency-target-ms", "60000", front=request.param) as shared:
        yield shared.ready()
        assert shared.stop() == 0, shared.log
