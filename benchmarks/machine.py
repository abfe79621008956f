"""The machine and the versions that figures depend on."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

OURS = ("onnxpress", "pygrpc-native", "onnxruntime", "numpy", "protobuf", "xgboost-cpu")


def describe(peers: dict[str, str]) -> dict[str, str]:
    """Name and value of everything that a figure depends on."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": cpu_model(Path("/proc/cpuinfo").read_text()),
        "cores": f"{len(os.sched_getaffinity(0))}, shared by server and load generator",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        **{name: version(name) for name in OURS},
        "h2load": subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        **peers,
    }


def cpu_model(cpuinfo: str) -> str:
    """The CPU from the text of /proc/cpuinfo, with family and model, since cloud machines may hide the name."""
    facts: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    numbers = [f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts]
    return ", ".join([facts.get("model name", platform.machine()), *numbers])
