"""The machine and the versions that figures depend on."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

OURS = ("onnxpress", "pygrpc-native", "onnxruntime", "numpy", "protobuf", "xgboost-cpu")


def describe(others: Mapping[str, str]) -> dict[str, str]:
    """Name and value of everything that a figure depends on; `others`: the versions of what is compared with."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": f"{len(os.sched_getaffinity(0))}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        **{name: version(name) for name in OURS},
        **others,
    }


def h2load() -> dict[str, str]:
    """The version of the load generator, which shares the cores with the server."""
    said = subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {"h2load": said}


def installed(venv: Path, packages: Sequence[str]) -> dict[str, str]:
    """The versions of packages in another virtual environment; empty where it does not have them."""
    if not (venv / "bin" / "python").exists():
        return {}
    code = f"from importlib.metadata import version as v; print(*(v(p) for p in {list(packages)!r}))"
    done = subprocess.run([venv / "bin" / "python", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    return {f"{name} ({venv.name})": v for name, v in zip(packages, done.stdout.split(), strict=True)}


def cpu_model(cpuinfo: str) -> str:
    """The CPU from the text of /proc/cpuinfo, with family and model, since cloud machines may hide the name."""
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    numbers = [f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts]
    return ", ".join([facts.get("model name", platform.machine()), *numbers])
