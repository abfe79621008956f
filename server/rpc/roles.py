"""Which role each RPC of the admin port needs: one table."""

from enum import IntEnum

from onnxpress.protos import admin_pb2, inference_pb2


class Role(IntEnum):
    """What a caller of the admin port may do; the greater one includes the lesser."""

    VIEW = 1
    OPERATE = 2

    @property
    def word(self) -> str:
        """As in the token file."""
        return self.name.lower()


ROLES = {role.word: role for role in Role}
_ADMIN = admin_pb2.DESCRIPTOR.services_by_name["Admin"].full_name
_INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
# RPC as `/service/method` -> role. A test compares it with the services of the port, so that a new RPC gets a row.
REQUIRED = {
    f"/{_ADMIN}/Deploy": Role.OPERATE,
    f"/{_ADMIN}/Rollback": Role.OPERATE,  # a dry run too: the table knows RPCs, not their fields
    f"/{_ADMIN}/ChangeRollout": Role.OPERATE,
    f"/{_ADMIN}/PlanRollout": Role.VIEW,
    f"/{_ADMIN}/GetPairs": Role.VIEW,
    f"/{_ADMIN}/GetDeployment": Role.VIEW,
    f"/{_ADMIN}/ListModels": Role.VIEW,
    f"/{_ADMIN}/GetHistory": Role.VIEW,
    f"/{_ADMIN}/WatchDeployments": Role.VIEW,
    f"/{_INFERENCE}/RepositoryIndex": Role.VIEW,
    f"/{_INFERENCE}/RepositoryModelLoad": Role.OPERATE,
    f"/{_INFERENCE}/RepositoryModelUnload": Role.OPERATE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.VIEW,
    # Not served: clients try it first, and take v1alpha only if this one is UNIMPLEMENTED.
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Role.VIEW,
}


def required_role(method: str) -> Role:
    """The role that the RPC `/service/method` needs; one that is not in the table needs the greatest."""
    return REQUIRED.get(method, Role.OPERATE)
