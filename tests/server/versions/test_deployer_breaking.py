"""Deploys of versions that callers of the live one cannot call: refused unless they are allowed, and told why."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpress.server.errors import BreakingVersionError
from onnxpress.server.versions.rollout import Plan, RolloutAction, Step
from tests.server.versions.control_plane import ControlPlane, add, replicas

PLAN = Plan((Step(10.0, 0, 0),))


def add_renamed(root: Path, version: int, **names: str) -> None:
    """A version of churn whose input x or output y has another name, and with `also` one output more."""
    renamed = {"x": "x", "y": "y"} | names
    x, y = (helper.make_tensor_value_info(renamed[name], TensorProto.FLOAT, ["N", 1]) for name in "xy")
    outputs = [y, *([helper.make_tensor_value_info("also", TensorProto.FLOAT, ["N", 1])] if "also" in names else [])]
    number = numpy_helper.from_array(np.array([version], np.float32), "number")
    nodes = [helper.make_node("Add", [renamed["x"], "number"], [renamed["y"]])]
    nodes += [helper.make_node("Identity", [renamed["x"]], ["also"])] if "also" in names else []
    graph = helper.make_graph(nodes, "g", [x], outputs, [number])
    onnx = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder = root / "churn" / str(version)
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    """Version 3 lacks the input x of 1 and 2, version 4 has one output more, and version 5 is as 1; 5 is live."""
    add(tmp_path, "churn", 1, 2, 5)
    add_renamed(tmp_path, 3, x="z")
    add_renamed(tmp_path, 4, also="also")
    with ControlPlane(tmp_path) as plane:
        yield plane.start()


def test_a_breaking_version_is_refused(plane: ControlPlane) -> None:
    """The error names what breaks and the flag; nothing changes, the audit log has the refusal, and it is unloaded."""
    with pytest.raises(BreakingVersionError) as caught:
        plane.deployer.deploy("churn", 3, None, "", "ada")
    said = str(caught.value)
    assert "version 3 of 'churn' breaks callers of version 5" in said
    assert "input 'x' was removed; input 'z' is newly required" in said
    assert "--allow-breaking" in said
    assert plane.live() == (5, 0)
    assert plane.history() == [("deploy", 3, "refused", f"refused: {said}")]
    assert plane.states()[3].value == "available"


def test_a_breaking_version_is_deployed_if_it_is_allowed(plane: ControlPlane) -> None:
    """And is compared with what is live then: going back by a deploy breaks the new callers."""
    plane.deployer.deploy("churn", 3, None, "", "ada", allow_breaking=True)
    assert plane.live() == (3, 1)
    with pytest.raises(BreakingVersionError, match="input 'z' was removed"):
        plane.deployer.deploy("churn", 1, None, "", "ada")


def test_a_rollback_is_never_refused(plane: ControlPlane) -> None:
    """Whoever goes back has worse problems than a signature."""
    plane.deployer.deploy("churn", 3, None, "", "ada", allow_breaking=True)
    assert plane.deployer.rollback("churn", None, "", "ada").version == 5
    assert plane.live() == (5, 2)


def test_more_outputs_are_no_break(plane: ControlPlane) -> None:
    """An additive version is deployed as any other; the way back to fewer outputs is one that breaks."""
    plane.deployer.deploy("churn", 4, None, "", "ada")
    assert plane.live() == (4, 1)
    with pytest.raises(BreakingVersionError, match="output 'also' was removed"):
        plane.deployer.deploy("churn", 1, None, "", "ada")


def test_a_rollout_of_a_breaking_version_is_refused(plane: ControlPlane) -> None:
    """A share of the calls would fail. If it was allowed at its begin, the rollout may go on to its end."""
    with pytest.raises(BreakingVersionError):
        plane.deployer.roll_out("churn", 3, PLAN, None, "", "ada")
    assert plane.reconciler.rollouts() == []
    plane.deployer.roll_out("churn", 3, PLAN, None, "", "ada", allow_breaking=True)
    plane.deployer.change_rollout("churn", RolloutAction.PROMOTE, None, "", "ada")
    assert plane.live() == (3, 2)


def test_a_dry_run_is_refused_as_its_rollout(plane: ControlPlane) -> None:
    """Where the interface is known without loading; it loads nothing, and leaves nothing in the log."""
    assert plane.deployer.check_roll_out("churn", 4, PLAN, None).version == 5
    plane.deployer.check_roll_out("churn", 3, PLAN, None)  # a bare model that is not loaded
    assert plane.history() == []
    assert plane.states()[4].value == "available"
    plane.deployer.load("churn", 3, "ada")
    before = plane.history()
    with pytest.raises(BreakingVersionError, match="input 'x' was removed"):
        plane.deployer.check_roll_out("churn", 3, PLAN, None)
    plane.deployer.check_roll_out("churn", 3, PLAN, None, allow_breaking=True)
    assert (plane.live(), plane.history(), plane.reconciler.rollouts()) == ((5, 0), before, [])


def test_a_candidate_is_deployed_as_it_was_begun(plane: ControlPlane) -> None:
    """A deploy of the active candidate promotes it, which its begin has allowed."""
    plane.deployer.roll_out("churn", 3, PLAN, None, "", "ada", allow_breaking=True)
    plane.deployer.deploy("churn", 3, None, "", "ada")
    assert plane.live() == (3, 2)


@pytest.mark.parametrize("gone", [False, True])
def test_a_live_version_that_is_not_loaded_keeps_none_from_replacing_it(tmp_path: Path, gone: bool) -> None:
    """What is live and is not loaded, or cannot even be read, has no callers that a deploy could break."""
    add(tmp_path, "churn", 1)
    add_renamed(tmp_path, 3, x="z")
    with replicas(tmp_path) as (one, _):
        one.deployer.deploy("churn", 1, None, "", "ada", allow_breaking=True)
        one.deployer.unload("churn", "ada")
        if gone:
            shutil.rmtree(tmp_path / "churn/1")
        assert one.deployer.deploy("churn", 3, None, "", "ada").version == 3
