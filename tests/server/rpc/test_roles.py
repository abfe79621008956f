"""The table of roles against the services of the admin port."""

from types import SimpleNamespace
from unittest.mock import Mock

from grpc_reflection.v1alpha import reflection_pb2

from onnxpress.protos import admin_pb2, inference_pb2
from onnxpress.server.rpc.admin import Admin
from onnxpress.server.rpc.roles import REQUIRED, Role, required_role

# In the table for the sake of clients that try it before v1alpha, which is served.
NOT_SERVED = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"}


def described() -> set[str]:
    """Every RPC of every service that the port has handlers for."""
    files = (admin_pb2, inference_pb2, reflection_pb2)
    services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
    return {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}


def test_every_rpc_has_its_role() -> None:
    """Each RPC that the port answers is in the table, and nothing else is; all of Admin's are answered."""
    nobody = Mock()
    handlers = Admin(nobody, nobody, nobody, nobody, nobody, list, nobody, nobody).handlers()
    served = {rpc for rpc in described() if any(handler.service(SimpleNamespace(method=rpc)) for handler in handlers)}
    served |= {rpc for rpc in described() if rpc.startswith("/grpc.reflection.")}
    assert served == set(REQUIRED) - NOT_SERVED
    assert {rpc for rpc in described() if rpc.startswith("/onnxpress.v1.Admin/")} <= served


def test_only_what_changes_nothing_is_for_viewers() -> None:
    """Whoever adds an RPC for viewers states it here a second time."""
    viewed = {rpc.rpartition("/")[2] for rpc, role in REQUIRED.items() if role is Role.VIEW}
    assert viewed == {
        "GetDeployment", "ListModels", "GetHistory", "GetPairs", "PlanRollout", "WatchDeployments",
        "RepositoryIndex", "ServerReflectionInfo",
    }  # fmt: skip


def test_what_is_not_in_the_table_needs_all() -> None:
    """Other spellings of a method are other methods."""
    for method in ("", "/", "/onnxpress.v1.Admin/", "/onnxpress.v1.admin/ListModels", "onnxpress.v1.Admin/ListModels"):
        assert required_role(method) is Role.OPERATE
