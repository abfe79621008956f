from pathlib import Path

import pytest

from onnxpress.server.errors import UsageError
from onnxpress.server.settings import Settings, resolve

# What kubelet sets in every container of a namespace that has a Service `onnxpress` with three ports.
SERVICE_LINKS = {
    "ONNXPRESS_SERVICE_HOST": "10.0.0.1",
    "ONNXPRESS_SERVICE_PORT": "8001",
    "ONNXPRESS_SERVICE_PORT_GRPC": "8001",
    "ONNXPRESS_PORT": "tcp://10.0.0.1:8001",
    "ONNXPRESS_PORT_8001_TCP": "tcp://10.0.0.1:8001",
    "ONNXPRESS_PORT_8001_TCP_PROTO": "tcp",
    "ONNXPRESS_PORT_8001_TCP_PORT": "8001",
    "ONNXPRESS_PORT_8001_TCP_ADDR": "10.0.0.1",
}


def test_a_kubernetes_service_of_our_name_does_not_stop_the_server():
    """Kubernetes tells of Services by variables; they look like ours and are none."""
    settings = resolve({}, {"ONNXPRESS_REPOSITORY": "models", "ONNXPRESS_GRPC_PORT": "9001", **SERVICE_LINKS})
    assert settings == Settings(repository=Path("models"), grpc_port=9001)


@pytest.mark.parametrize("name", ["SERVICE", "SERVICE_HOSTS", "PORT", "PORT_8001", "PORT_X_TCP", "GRPC_PORTS"])
def test_what_only_resembles_it_is_an_unknown_setting(name: str):
    """A typing error must not be swallowed with them."""
    with pytest.raises(UsageError, match=f"unknown setting '{name.lower()}' in the environment"):
        resolve({}, {"ONNXPRESS_REPOSITORY": "models", f"ONNXPRESS_{name}": "1"})
