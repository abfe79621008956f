"""Loading, publishing and unloading, whoever decided it."""

import shutil
import threading
from pathlib import Path

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.server.sources.folder import FolderSource
from onnxpress.server.versions import actuator
from onnxpress.server.versions.lifecycle import State
from onnxpress.server.versions.rollout import Plan, Step
from tests.server.versions.control_plane import ControlPlane, add


class Elsewhere(FolderSource):
    """A source whose packages lie somewhere else than in Triton's layout."""

    def fetch(self, model: str, version: int) -> Path:
        target = self.root / "cache" / f"{model}-{version}"
        if not target.exists():
            shutil.copytree(super().fetch(model, version), target)
        return target


def test_packages_are_read_where_the_source_says(tmp_path: Path) -> None:
    """What is loaded, tried and checked is what `fetch` gave: a broken file in the layout goes unseen."""
    add(tmp_path, "churn", 1, 2)
    source = Elsewhere(tmp_path)
    for version in (1, 2):
        source.fetch("churn", version)
        (tmp_path / f"churn/{version}/model.onnx").write_bytes(b"no model")
    with ControlPlane(tmp_path, source=source).start() as plane:
        assert plane.live() == (2, 0)
        plane.deployer.deploy("churn", 1, None, "", "ada")
        assert plane.live() == (1, 1)


def test_two_threads_load_a_version_once(tmp_path: Path) -> None:
    """Who comes while a version is being loaded waits, and gets the same lane."""
    add(tmp_path, "churn", 1, 2)
    with ControlPlane(tmp_path).start() as plane:
        plane.hanging.add(1)
        model = plane.reconciler.known("churn")
        lanes: list[object] = []
        threads = [
            threading.Thread(target=lambda: lanes.append(plane.actuator.load(model, 1, preflight=True)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert plane.hangs.wait(30)
        plane.go.set()
        for thread in threads:
            thread.join(30)
        assert len(lanes) == 3
        assert len(set(map(id, lanes))) == 1
        assert plane.preflights.count(1) == 1


def test_a_version_that_changed_while_it_was_tried_is_refused(tmp_path: Path) -> None:
    """What is loaded is what was tried, by its digest; the reason is told to callers that name the version."""
    add(tmp_path, "churn", 1, 2)
    with ControlPlane(tmp_path).start() as plane:
        plane.hanging.add(1)
        model = plane.reconciler.known("churn")
        changed = tmp_path / "churn/2/model.onnx"
        plane.after_preflight = lambda folder: shutil.copy(changed, folder / changed.name)
        plane.go.set()
        with pytest.raises(RefusedPackageError, match="changed while it was tried"):
            plane.actuator.load(model, 1, preflight=True)
        assert plane.states()[1] is State.FAILED
        assert "changed while it was tried" in plane.scheduler.routes.models["churn"].unready["1"]


def test_a_flip_waits_for_every_former_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that an older route sent are waited for, although routes with other reasons came in between."""
    monkeypatch.setattr(actuator, "RELEASE_S", 0.0)
    add(tmp_path, "churn", 1, 2)
    with ControlPlane(tmp_path).start() as plane:
        model = plane.reconciler.known("churn")
        oldest = plane.scheduler.routes.models["churn"]
        oldest.held = 1
        plane.broken.add(1)
        with pytest.raises(RefusedPackageError):
            plane.actuator.load(model, 1, preflight=True)
        assert plane.scheduler.routes.models["churn"] is not oldest
        waited: list[object] = []
        released = plane.scheduler.wait_released
        monkeypatch.setattr(
            plane.scheduler, "wait_released", lambda held, timeout: waited.append(held) or released(held, timeout)
        )
        plane.actuator.publish(model, flip=True)
        assert oldest in waited
        oldest.held = 0


def test_a_package_that_vanished_is_told(tmp_path: Path) -> None:
    """A version that is loaded and no longer on disk serves on, and its status says so."""
    add(tmp_path, "churn", 1, 2)
    with ControlPlane(tmp_path).start() as plane:
        shutil.rmtree(tmp_path / "churn/2")
        (one, two) = plane.reconciler.status("churn").versions
        assert (one.state, two.state, two.reason) == (State.AVAILABLE, State.READY, "package missing")


def test_a_version_that_cannot_be_loaded_takes_no_share_away(tmp_path: Path) -> None:
    """While version 2 is rolled out, version 1 fails to load: version 2 keeps its share of the calls."""
    add(tmp_path, "churn", 1, 2, 3)
    with ControlPlane(tmp_path).start() as plane:
        plane.deployer.roll_out("churn", 2, Plan((Step(10, 60, 100),)), None, "", "ada")
        before = plane.scheduler.routes.models["churn"]
        plane.broken.add(1)
        with pytest.raises(RefusedPackageError):
            plane.deployer.load("churn", 1, "ada")
        after = plane.scheduler.routes.models["churn"]
        assert "does not run" in after.unready["1"]
        assert (after.shares, after.salt) == (before.shares, before.salt)
        assert after.shares[0].below == 1_000
