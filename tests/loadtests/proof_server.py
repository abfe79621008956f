"""A server that misbehaves on purpose: ModelInfer by ONNX Runtime over real sockets, with faults to be found.

It proves that the gate bites. Run as a process of its own:
    python tests/loadtests/proof_server.py REPOSITORY [--fault ...]
Prints `ready DATA_PORT ADMIN_PORT` when it serves. The package server/ is not involved.
"""

import argparse
import asyncio
import time
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import uvloop
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from onnxpress.protos import admin_pb2, admin_pb2_grpc, inference_pb2, inference_pb2_grpc

RETRY_MS = 250


def retry_trailers() -> tuple[tuple[str, str | bytes], ...]:
    """A google.rpc.Status with a RetryInfo."""
    status = Status(code=8, message="queue full")
    status.details.add().Pack(RetryInfo(retry_delay=Duration(nanos=RETRY_MS * 1_000_000)))
    return (("grpc-status-details-bin", status.SerializeToString()),)


# ruff: noqa: N802 -- grpc's generated base classes name the methods


class Models:
    """Sessions by version, and which version is live."""

    def __init__(self, repository: Path, name: str, live: int) -> None:
        self.sessions = {}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for folder in sorted((repository / name).iterdir()):
            model = (folder / "model.onnx").read_bytes()
            self.sessions[int(folder.name)] = onnxruntime.InferenceSession(model, options)
        self.name = name
        self.live = live or max(self.sessions)
        self.epoch = 1


class Inference(inference_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, models: Models, faults: argparse.Namespace) -> None:
        self.models, self.faults = models, faults
        self.running = 0
        self.answered = 0
        self.began = time.monotonic()

    async def ModelReady(self, request, context):
        return inference_pb2.ModelReadyResponse(ready=request.name == self.models.name)

    async def ModelInfer(self, request, context):
        faults = self.faults
        if faults.capacity and self.running >= faults.capacity:
            trailers = () if faults.rude else retry_trailers()
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", trailers)
        self.running += 1
        try:
            if faults.delay_ms:
                await asyncio.sleep(faults.delay_ms / 1000)
            return await self.answer(request, context)
        finally:
            self.running -= 1

    async def answer(self, request, context):
        self.answered += 1
        version = self.models.live
        if self.faults.drop_after and time.monotonic() - self.began > self.faults.drop_after:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"model {request.model_name!r} has no version {version}")
        if self.faults.stale and self.models.epoch > 1 and self.answered % 50 == 0:
            version = min(self.models.sessions)
        return self.run(request, version)

    def run(self, request, version: int):
        rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
        label, probabilities = self.models.sessions[version].run(["label", "probabilities"], {"input": rows})
        if self.faults.wrong == "exchanged" and self.answered % 100 == 0:
            probabilities = probabilities[:, ::-1]
        if self.faults.wrong == "unnormalised" and self.answered % 100 == 0:
            probabilities = probabilities * np.float32(1.01)
        response = inference_pb2.ModelInferResponse(
            model_name=request.model_name,
            model_version="" if self.faults.wrong == "nameless" else str(version),
            id=request.id,
        )
        response.outputs.add(name="label", datatype="INT64", shape=label.shape)
        response.outputs.add(name="probabilities", datatype="FP32", shape=probabilities.shape)
        response.raw_output_contents.append(np.ascontiguousarray(label).tobytes())
        response.raw_output_contents.append(np.ascontiguousarray(probabilities).tobytes())
        return response

    async def ModelStreamInfer(self, requests, context):
        async for request in requests:
            if self.faults.delay_ms:
                await asyncio.sleep(self.faults.delay_ms / 1000)
            self.answered += 1
            yield inference_pb2.ModelStreamInferResponse(infer_response=self.run(request, self.models.live))


class Admin(admin_pb2_grpc.AdminServicer):
    def __init__(self, models: Models) -> None:
        self.models = models

    async def GetDeployment(self, request, context):
        return admin_pb2.GetDeploymentResponse(
            model=request.model, live_version=self.models.live, epoch=self.models.epoch
        )

    async def Deploy(self, request, context):
        if request.version not in self.models.sessions:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no version {request.version}")
        previous, self.models.live = self.models.live, request.version
        self.models.epoch += 1
        return admin_pb2.DeployResponse(
            model=request.model, version=request.version, previous_version=previous, epoch=self.models.epoch
        )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("repository", type=Path)
    parser.add_argument("--model", default="churn")
    parser.add_argument("--live", type=int, default=0)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--wrong", choices=("exchanged", "unnormalised", "nameless"))
    parser.add_argument("--drop-after", type=float, default=0, metavar="SECONDS")
    parser.add_argument("--capacity", type=int, default=0, help="calls at once; more are refused")
    parser.add_argument("--rude", action="store_true", help="refuse without a time to try again")
    parser.add_argument("--stale", action="store_true", help="after a swap, now and then answer by the oldest version")
    return parser.parse_args()


async def main() -> None:
    given = arguments()
    models = Models(given.repository, given.model, given.live)
    server, admin = grpc.aio.server(), grpc.aio.server()
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(models, given), server)
    admin_pb2_grpc.add_AdminServicer_to_server(Admin(models), admin)
    ports = server.add_insecure_port("127.0.0.1:0"), admin.add_insecure_port("127.0.0.1:0")
    await server.start()
    await admin.start()
    print("ready", *ports, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
