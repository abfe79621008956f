"""Loads a model file according to its suffix, without running code that the caller has not trusted."""

import hashlib
import importlib
import io
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxpress.packages.errors import ConversionRefused

TRIAL_SECONDS = 120
XGBOOST_TRIAL = "import sys, xgboost; xgboost.Booster().load_model(bytearray(sys.stdin.buffer.read()))"
LIGHTGBM_TRIAL = "import sys, lightgbm; lightgbm.Booster(model_str=sys.stdin.buffer.read().decode())"


@dataclass(frozen=True)
class Loaded:
    """A model, the SHA-256 of the bytes that it was read from, and the warnings of its library."""

    model: Any
    digest: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Trust:
    """What the caller trusts: pickles, which run code, and named types inside a .skops file."""

    pickle: bool = False
    types: tuple[str, ...] = ()


def load(path: Path, trust: Trust) -> Loaded:
    """Reads a model of one of SUFFIXES; raises ConversionRefused when it cannot or must not."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConversionRefused(f"{path.name}: models come as {', '.join(READERS)}")
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise ConversionRefused(f"{path}: {failure.strerror}") from failure
    if not content:
        raise ConversionRefused(f"{path.name} is empty")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = reader(content, trust)
        except ConversionRefused as refusal:
            raise ConversionRefused(f"{path.name}: {refusal}") from refusal
        except Exception as failure:  # for a broken file its library, or code inside it, may raise anything
            reason = (str(failure).strip() or type(failure).__name__).splitlines()[0]
            raise ConversionRefused(f"{path.name} cannot be read as {path.suffix}: {reason}") from failure
    found = tuple(dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught))
    return Loaded(model, hashlib.sha256(content).hexdigest(), found)


def _try_in_child(script: str, content: bytes) -> None:
    """Reads the file in a child process first: native parsers abort the process on some broken files."""
    try:
        child = subprocess.run(  # noqa: S603 -- this interpreter, a constant script, the file on its standard input
            [sys.executable, "-c", script], input=content, capture_output=True, timeout=TRIAL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise ConversionRefused(f"its library has not read it within {TRIAL_SECONDS} s: the file is broken") from late
    if child.returncode < 0:
        raise ConversionRefused(f"its library crashes on it (signal {-child.returncode}): the file is broken")


def _xgboost(content: bytes, trust: Trust) -> Any:  # noqa: ARG001 -- one signature for all readers
    _try_in_child(XGBOOST_TRIAL, content)
    booster = importlib.import_module("xgboost").Booster()
    booster.load_model(bytearray(content))
    return booster


def _lightgbm(content: bytes, trust: Trust) -> Any:  # noqa: ARG001 -- one signature for all readers
    if not content.startswith(b"tree\n"):
        raise ConversionRefused("the text is not a LightGBM model, as `booster.save_model` writes it")
    _try_in_child(LIGHTGBM_TRIAL, content)
    return importlib.import_module("lightgbm").Booster(model_str=content.decode())


def _onnx(content: bytes, trust: Trust) -> Any:  # noqa: ARG001 -- one signature for all readers
    onnx = importlib.import_module("onnx")
    model = onnx.load_model_from_string(content)
    if not model.graph.node:
        raise ConversionRefused("the file contains no graph")
    return model


def _skops(content: bytes, trust: Trust) -> Any:
    skops = importlib.import_module("skops.io")
    untrusted = [name for name in skops.get_untrusted_types(data=content) if name not in trust.types]
    if untrusted:
        flags = " ".join(f"--trust-type {name}" for name in untrusted)
        raise ConversionRefused(
            f"holds {len(untrusted)} type(s) that skops does not trust: {', '.join(untrusted)}; "
            f"if you trust where it comes from, add {flags}"
        )
    return skops.loads(content, trusted=list(trust.types))


def _joblib(content: bytes, trust: Trust) -> Any:
    _check_trust(trust)
    return importlib.import_module("joblib").load(io.BytesIO(content))


def _pickle(content: bytes, trust: Trust) -> Any:
    _check_trust(trust)
    return pickle.loads(content)  # noqa: S301 -- only with --trust-pickle


def _check_trust(trust: Trust) -> None:
    if not trust.pickle:
        raise ConversionRefused(
            "reading a pickle runs the code inside it; if you trust where it comes from, add --trust-pickle, "
            "or save the model with skops, which runs none"
        )


READERS: dict[str, Callable[[bytes, Trust], Any]] = {
    ".ubj": _xgboost,
    ".json": _xgboost,
    ".txt": _lightgbm,
    ".skops": _skops,
    ".joblib": _joblib,
    ".pkl": _pickle,
    ".onnx": _onnx,
}
