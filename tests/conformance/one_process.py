"""tritonclient and our admin stubs in one process: deploys through one, asks through the other.

`python -m tests.conformance.one_process DATA_ADDRESS ADMIN_ADDRESS` prints the versions that answered.
"""

import sys

import grpc
import tritonclient.grpc

from onnxpress.protos import admin_pb2, admin_pb2_grpc
from tests.answers import number_rows


def main() -> None:
    data, admin = sys.argv[1:]
    client = tritonclient.grpc.InferenceServerClient(data)
    stub = admin_pb2_grpc.AdminStub(grpc.insecure_channel(admin))
    rows = tritonclient.grpc.InferInput("input", [1, 30], "FP32")
    rows.set_data_from_numpy(number_rows(1))
    for version in (1, 2, 1):
        done = stub.Deploy(admin_pb2.DeployRequest(model="numbers", version=version, reason="one process"))
        answered = client.infer("numbers", [rows]).get_response().model_version
        print(done.version, answered, done.epoch)
    index = client.get_inference_statistics("numbers").model_stats
    print(",".join(of.version for of in index))
    # Triton's repository extension is answered on the admin port.
    with tritonclient.grpc.InferenceServerClient(admin) as operator:
        operator.unload_model("numbers")
        print(client.is_model_ready("numbers"))
        operator.load_model("numbers")
        print(client.is_model_ready("numbers"))
        print([(entry.name, entry.version, entry.state) for entry in operator.get_model_repository_index().models])


if __name__ == "__main__":
    main()
