"""The command `onnxpress convert`: file in, package out, progress on stderr, a short table at the end."""

import argparse
import sys
from pathlib import Path

from onnxpress.converters.convert import LAYOUTS, convert
from onnxpress.converters.loading import READERS, Trust, load
from onnxpress.converters.progress import Step
from onnxpress.converters.runtime import Session
from onnxpress.converters.sample import read_rows
from onnxpress.converters.timing import microseconds
from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.names import parse_version
from onnxpress.packages.write import Package
from onnxpress.protos.package_pb2 import Tensor

USAGE = 2
REFUSED = 3
INPUTS_SHOWN = 6


def main(argv: list[str]) -> int:
    """Runs `convert ...`; returns 0, 2 for usage or 3 for a refusal."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    for path in (arguments.model, arguments.sample):
        if not path.is_file():
            sys.stderr.write(f"onnxpress convert: {path}: no such file\n")
            return USAGE
    try:
        _say(f"reading {arguments.model}")
        trust = Trust(arguments.trust_pickle, tuple(arguments.trust_type))
        loaded = load(arguments.model, trust)
        for warning in loaded.warnings:
            _say(f"warning: {warning}")
        rows = read_rows(arguments.sample)
        package = convert(
            loaded.model, rows, name=arguments.name, layout=arguments.layout, digest=loaded.digest, progress=_report
        )
        path = package.save(arguments.repository, arguments.version)
    except ConversionRefused as refusal:
        sys.stderr.write(f"onnxpress convert: refused: {refusal}\n")
        return REFUSED
    except OSError as failure:
        sys.stderr.write(f"onnxpress convert: {failure.filename or arguments.repository}: {failure.strerror}\n")
        return REFUSED
    sys.stdout.write(table(package, path))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="onnxpress convert",
        description="Compiles a trained model to ONNX, proves that the copy answers as the original does, and writes "
        "a package. What cannot be proved is refused with the reason (exit 3).",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help=f"the model file: {' '.join(READERS)}")
    parser.add_argument("--sample", type=Path, required=True, metavar="ROWS", help="training rows: .csv or .parquet")
    parser.add_argument("--name", required=True, help="the name that clients call")
    parser.add_argument("--repository", type=Path, required=True, metavar="DIR", help="folder of all models")
    parser.add_argument("--version", type=_version, metavar="N", help="default: the highest one plus one")
    parser.add_argument(
        "--layout", choices=LAYOUTS, default="auto", help="one matrix or one input a column; auto: matrix for numbers"
    )
    parser.add_argument(
        "--trust-pickle", action="store_true", help="allow .pkl and .joblib, which run code while they are read"
    )
    parser.add_argument(
        "--trust-type", action="append", default=[], metavar="TYPE", help="allow this type in a .skops file; repeatable"
    )
    return parser


def _version(text: str) -> int:
    try:
        return parse_version(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _report(step: Step) -> None:
    """One line for each stage, and one for each generator when it ends."""
    if not step.generator:
        _say(step.description)
    elif step.finished:
        _say(f"  {step.generator}  {step.rows_compared:>9,} rows, {step.rows_outside} outside: {step.description}")


def table(package: Package, path: Path) -> str:
    """What was made, in lines of a label and a value."""
    manifest, parity = package.manifest, package.parity
    session = Session(package.onnx)
    inputs = {key.removeprefix("inputs/"): value for key, value in package.golden.items() if key.startswith("inputs/")}
    rows = sum(generator.rows for generator in parity.generators)
    names = " ".join(generator.generator for generator in parity.generators)
    worst = max((generator.worst_difference for generator in parity.generators), default=0.0)
    lines = [
        ("package", str(path)),
        ("model", f"{manifest.source.estimator} ({manifest.source.framework})"),
        ("size", f"{len(package.onnx):,} bytes"),
        ("trees", f"{manifest.trees:,}, nodes {manifest.nodes:,}"),
        ("inputs", _ports(list(manifest.inputs))),
        ("outputs", _ports(list(manifest.outputs))),
        ("parity", f"exact on {rows:,} rows ({names}) in {parity.seconds:.1f} s, largest difference {worst:.1e}"),
        ("exact for", manifest.exact_datatype),
        *(("note", note) for note in manifest.notes),
        *(("sampled", note) for note in parity.sampled),
        ("1 row", f"{microseconds(session, inputs, 1):,.0f} µs"),
        ("128 rows", f"{microseconds(session, inputs, 128):,.0f} µs"),
    ]
    return "".join(f"{label:<10} {value}\n" for label, value in lines)


def _ports(tensors: list[Tensor]) -> str:
    shown = [f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in tensors[:INPUTS_SHOWN]]
    rest = len(tensors) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
