"""The other servers, each in its own virtual environment (`make bench-peers`), with the same model."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import grpc

from benchmarks import machine
from benchmarks.bodies import FEATURES
from benchmarks.children import ROOT, Child, ChildError, free_port
from benchmarks.packages import HEAVY, LIGHT, Packages
from benchmarks.targets import Target

TRITON_VENV = Path(os.environ.get("BENCH_TRITON_VENV", ROOT / ".venv-triton"))
MLSERVER_VENV = Path(os.environ.get("BENCH_MLSERVER_VENV", ROOT / ".venv-mlserver"))
TRITON_ROWS_MAX = 128
TRITON_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: {rows}
input [{{name: "input" data_type: TYPE_FP32 dims: [{features}]}}]
output [{{name: "label" data_type: TYPE_INT64 dims: [1]}}, {{name: "probabilities" data_type: TYPE_FP32 dims: [2]}}]
dynamic_batching {{ }}
"""
MIB_16 = 16 << 20


class Triton(Target):
    """NVIDIA Triton from the nvidia-pytriton wheel: its C++ front, dynamic batching, ONNX Runtime in a backend."""

    name = "triton"

    def __init__(self, folder: Path, packages: Packages) -> None:
        site = _site_packages(TRITON_VENV)
        home = site / "pytriton" / "tritonserver"
        repository = folder / "triton"
        backends = folder / "triton-backends"
        for made in (repository, backends):
            shutil.rmtree(made, ignore_errors=True)
        for model in (LIGHT, HEAVY):
            _triton_model(repository / model, packages.onnx(model))
        # The Python backend looks for its stub in its own folder, where the wheel does not have it.
        shutil.copytree(home / "backends", backends)
        stub = home / "python_backend_stubs" / site.parent.name.removeprefix("python") / "triton_python_backend_stub"
        shutil.copy(stub, backends / "python")
        port = free_port()
        command = [
            str(home / "bin" / "tritonserver"), "--model-repository", str(repository), "--backend-directory",
            str(backends), "--allow-http=false", "--allow-metrics=false", "--grpc-address=127.0.0.1",
            f"--grpc-port={port}",
        ]  # fmt: skip
        libraries = {
            "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
            "PATH": f"{TRITON_VENV / 'bin'}:{os.environ['PATH']}",
            "VIRTUAL_ENV": str(TRITON_VENV),
            "PYTHONPATH": str(site),
            "ORT_DISABLE_TELEMETRY": "1",
        }
        child = Child(command, folder / "triton.log", libraries)
        _wait(child, r"Started GRPCInferenceService")
        super().__init__(child, port)


class TritonFront(Target):
    """The same process with requests for an unknown model, which measures its front without inference."""

    name = "triton front"
    expects = grpc.StatusCode.NOT_FOUND

    def __init__(self, triton: Triton) -> None:
        super().__init__(triton.child, triton.port)

    def __exit__(self, *_: object) -> None:
        """Does nothing: `Triton` stops the process."""


@dataclass(frozen=True)
class MLServerSettings:
    """The settings that its documentation recommends to tune. workers 0: inference in the serving process."""

    workers: int
    batch_rows: int  # 0: adaptive batching off
    wait_s: float = 0.0

    def __str__(self) -> str:
        batching = f"adaptive batching to {self.batch_rows} rows or {self.wait_s * 1e3:g} ms" if self.batch_rows else (
            "no adaptive batching"
        )  # fmt: skip
        return f"parallel_workers={self.workers}, {batching}"


MLSERVER_TRIED = (
    MLServerSettings(0, 0),
    MLServerSettings(0, 128, 0.001),
    MLServerSettings(1, 0),
    MLServerSettings(1, 128, 0.001),
)


class MLServer(Target):
    """MLServer with its XGBoost runtime and the booster that our package was compiled from."""

    name = "mlserver"

    def __init__(self, folder: Path, packages: Packages, settings: MLServerSettings) -> None:
        home = folder / "mlserver"
        shutil.rmtree(home, ignore_errors=True)
        ports = {"grpc_port": free_port(), "http_port": free_port(), "metrics_port": free_port()}
        home.mkdir(parents=True)
        server = {
            **ports, "host": "127.0.0.1", "debug": False, "parallel_workers": settings.workers,
            "grpc_max_message_length": MIB_16, "metrics_endpoint": None, "use_structured_logging": False,
        }  # fmt: skip
        (home / "settings.json").write_text(json.dumps(server))
        for model in (LIGHT, HEAVY):
            _mlserver_model(home / model, packages.boosters / f"{model}.json", settings)
        command = [str(MLSERVER_VENV / "bin" / "mlserver"), "start", str(home)]
        child = Child(command, folder / "mlserver.log", {"OMP_NUM_THREADS": "1"})
        _wait(child, rf"(?s)(?=.*Loaded model '{LIGHT}')(?=.*Loaded model '{HEAVY}').*gRPC server running")
        super().__init__(child, ports["grpc_port"])


def missing() -> list[str]:
    """Peers whose environment is not installed."""
    homes = {
        "triton": TRITON_VENV / "lib" / "*" / "site-packages" / "pytriton",
        "mlserver": MLSERVER_VENV / "bin" / "mlserver",
    }
    return [name for name, home in homes.items() if not list(Path("/").glob(str(home.absolute()).lstrip("/")))]


def versions() -> dict[str, str]:
    """What is installed in the peers' environments."""
    return {
        **machine.installed(TRITON_VENV, ("nvidia-pytriton", "onnxruntime")),
        **machine.installed(MLSERVER_VENV, ("mlserver", "mlserver-xgboost", "xgboost")),
    }


def _site_packages(venv: Path) -> Path:
    sites = sorted((venv / "lib").glob("python3*/site-packages"))
    if not sites:
        raise ChildError(f"{venv} is not a virtual environment")
    return sites[-1]


def _triton_model(folder: Path, onnx: Path) -> None:
    (folder / "1").mkdir(parents=True)
    config = TRITON_CONFIG.format(name=folder.name, rows=TRITON_ROWS_MAX, features=FEATURES)
    (folder / "config.pbtxt").write_text(config)
    shutil.copy(onnx, folder / "1")
    shutil.copy(Path(__file__).with_name("triton_model.py"), folder / "1" / "model.py")


def _mlserver_model(folder: Path, booster: Path, settings: MLServerSettings) -> None:
    folder.mkdir()
    shutil.copy(booster, folder / "model.json")
    model = {
        "name": folder.name, "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": "./model.json", "version": "1"},
        "max_batch_size": settings.batch_rows, "max_batch_time": settings.wait_s,
    }  # fmt: skip
    (folder / "model-settings.json").write_text(json.dumps(model))


def _wait(child: Child, pattern: str) -> None:
    try:
        child.wait_for(pattern)
    except BaseException:
        child.stop()
        raise
