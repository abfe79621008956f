import argparse
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from onnxpress.server.settings import Settings, add_flags, resolve
from onnxpress.server.wiring import STOP_MARGIN_S

ROOT = Path(__file__).parents[2]
# Between the last budget of ours and SIGKILL: the runtime's own time to deliver SIGTERM and reap.
AIR_S = 3


@cache
def objects() -> dict[str, Any]:
    return {found["kind"]: found for found in YAML(typ="safe").load_all(ROOT / "kubernetes/onnxpress.yaml")}


def pod() -> Any:
    return objects()["Deployment"]["spec"]["template"]["spec"]


def container() -> Any:
    (only,) = pod()["containers"]
    return only


def settings() -> Settings:
    """The server's settings from the container's arguments and variables."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    assert container()["args"][0] == "serve"
    variables = {variable["name"]: variable.get("value", "2") for variable in container()["env"]}
    return resolve(vars(parser.parse_args(container()["args"][1:])), variables)


def test_grace_period_covers_the_servers_own_budgets():
    """The grace period is long enough to drain, since a killed server loses accepted requests."""
    budgets = settings().drain_wait_s + settings().drain_finish_s + STOP_MARGIN_S
    assert pod()["terminationGracePeriodSeconds"] >= budgets + AIR_S


def test_the_default_settings_fit_the_grace_period_too():
    """The grace period is also long enough for the default settings."""
    default = Settings(repository=Path("models"))
    assert pod()["terminationGracePeriodSeconds"] >= default.drain_wait_s + default.drain_finish_s + STOP_MARGIN_S


def test_balancers_have_noticed_before_work_is_refused():
    """The readiness probe fails as often as it must before the server refuses new work."""
    probe = container()["readinessProbe"]
    notice_s = probe["periodSeconds"] * probe["failureThreshold"] + probe.get("timeoutSeconds", 1)
    assert settings().drain_wait_s >= notice_s


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")]
)
def test_probes_ask_what_the_server_answers(probe: str, path: str):
    """The liveness probe does not use readiness, which would kill a draining or loading server."""
    asked = container()[probe]["httpGet"]
    assert asked == {"path": path, "port": "http"}


def test_startup_may_take_as_long_as_a_version_may_load():
    """The startup probe waits at least as long as loading a version may take."""
    probe = container()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= settings().load_seconds_max * 2


def test_ports_are_the_servers():
    """Deployment, Service and settings name the same ports; the admin port is in none of them."""
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"grpc": settings().grpc_port, "http": settings().http_port}
    service = {port["targetPort"]: port["port"] for port in objects()["Service"]["spec"]["ports"]}
    assert service == ports


def test_selectors_select_the_pods():
    """Every selector matches the labels of the pods."""
    labels = objects()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects()["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects()["Service"]["spec"]["selector"] == labels
    assert objects()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels


def test_nothing_is_writable_but_the_state_folder():
    """Root read-only, repository read-only, no privilege; what the server writes goes to the state folder."""
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container()["securityContext"]["allowPrivilegeEscalation"] is False
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container()["volumeMounts"]}
    assert mounts == {str(settings().repository): True, str(settings().state_dir): False}


def test_user_is_the_images():
    """Files that the image gives to its user belong to the pod's user."""
    user, group = re.findall(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    context = pod()["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    assert context["runAsNonRoot"] is True


def test_a_rolling_update_never_has_fewer_replicas_than_wanted():
    """A rolling update starts a replica before it ends one."""
    strategy = objects()["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert (strategy["maxUnavailable"], strategy["maxSurge"]) == (0, 1)


def test_a_rolling_update_waits_until_clients_know_the_new_replica():
    """gRPC resolves a name at most every 30 s (grpc.dns_min_time_between_resolutions_ms)."""
    assert objects()["Deployment"]["spec"]["minReadySeconds"] > 30
