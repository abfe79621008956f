"""The command `onnxpress convert`: reads a model file, writes a package, shows progress and a summary."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpress.cli.live import LiveLine
from onnxpress.cli.options import RefusedError, output_option, version_number
from onnxpress.cli.output import facts_of, print_fields, print_json

# The frameworks are imported by the conversion itself, so that --help and completion do not load them.
if TYPE_CHECKING:
    from onnxpress.converters.progress import Step
    from onnxpress.packages.package import Package
    from onnxpress.protos.package_pb2 import Tensor

# Equal to LAYOUTS of `converters/convert.py`, which a test checks.
LAYOUTS = ("auto", "matrix", "columns")
INPUTS_SHOWN = 6


@click.command
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.option(
    "--sample", type=click.Path(path_type=Path), required=True, metavar="ROWS", help="training rows: .csv or .parquet"
)
@click.option("--name", required=True, metavar="NAME", help="the name that clients call")
@click.option(
    "--repository", type=click.Path(path_type=Path), required=True, metavar="DIR", help="folder of all models"
)
@click.option("--version", callback=version_number, metavar="N", help="default: the highest one plus one")
@click.option(
    "--layout",
    type=click.Choice(LAYOUTS),
    default="auto",
    show_default=True,
    help="one matrix or one input for each column; auto: a matrix if all columns are numbers",
)
@click.option("--trust-pickle", is_flag=True, help="allow .pkl and .joblib, which run code while they are read")
@click.option("--trust-type", multiple=True, metavar="TYPE", help="allow this type in a .skops file; repeatable")
@output_option
def convert(model: Path, sample: Path, repository: Path, version: int | None, output: str, **given: Any) -> None:
    """Compiles a trained model to ONNX, proves that it answers as the original does, and writes a package.

    MODEL is a file: .ubj or .json (XGBoost), .txt (LightGBM), .skops, .joblib, .pkl or .onnx. A model that cannot be
    proved exact is refused with the reason (exit code 3).
    """
    for path in (model, sample):
        if not path.is_file():
            raise click.UsageError(f"{path}: no such file")
    from onnxpress.packages.errors import ConversionRefused

    try:
        with LiveLine() as line:
            line.show(f"reading {model}")
            package = _package(model, sample, given, Progress(line))
        path = package.save(repository, version)
    except ConversionRefused as refusal:
        raise RefusedError(f"refused: {refusal}") from refusal
    except OSError as failure:
        raise RefusedError(f"{failure.filename or repository}: {failure.strerror}") from failure
    facts = _facts(package, path)
    if output == "json":
        print_json("convert/v1", facts)
    else:
        print_fields(_fields(package, facts))


def _package(model: Path, sample: Path, given: dict[str, Any], progress: "Progress") -> "Package":
    from onnxpress.converters.convert import convert
    from onnxpress.converters.loading import Trust, load
    from onnxpress.converters.sample import read_rows

    loaded = load(model, Trust(given["trust_pickle"], tuple(given["trust_type"])))
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    rows = read_rows(sample)
    return convert(
        loaded.model, rows, name=given["name"], layout=given["layout"], digest=loaded.digest, progress=progress
    )


class Progress:
    """Shows each step of a conversion on the live line; the findings of each generator stay above it."""

    def __init__(self, line: LiveLine) -> None:
        self._line = line

    def __call__(self, step: "Step") -> None:
        """`step` as `convert` reports it."""
        if not step.generator:
            self._line.show(step.description)
        elif step.finished:
            found = f"{step.rows_compared:>9,} rows, {step.rows_outside} outside"
            self._line.above(f"  {step.generator}  {found}: {step.description}  {step.seconds:.1f} s")
        else:
            done = f"{step.rows_done:,} of {step.rows_planned:,} rows, {step.seconds:.1f} s"
            # The changing figures come first, because a narrow terminal cuts off the end.
            self._line.show(f"{step.generator}  {done}: {step.description}")


def _facts(package: "Package", path: Path) -> dict[str, Any]:
    """The package and its proof, with the keys that docs/cli.md documents."""
    from onnxpress.converters.runtime import Session
    from onnxpress.converters.timing import microseconds

    manifest, parity = package.manifest, package.parity
    session = Session(package.onnx)
    return {
        "package": str(path),
        "name": manifest.name,
        "version": int(path.name),
        "digest": hashlib.sha256(package.onnx).hexdigest(),
        "bytes": len(package.onnx),
        "framework": manifest.source.framework,
        "estimator": manifest.source.estimator,
        "trees": manifest.trees,
        "nodes": manifest.nodes,
        "inputs": [facts_of(tensor) for tensor in manifest.inputs],
        "outputs": [facts_of(tensor) for tensor in manifest.outputs],
        "exact_datatype": manifest.exact_datatype,
        "generators": [
            {"generator": one.generator, "rows": one.rows, "worst_difference": one.worst_difference}
            for one in parity.generators
        ],
        "seconds": parity.seconds,
        "forest_rows": parity.forest.rows,
        "without_forest": parity.forest.reason,
        "notes": list(manifest.notes),
        "sampled": list(parity.sampled),
        "row_us": microseconds(session, package.golden.inputs, 1),
        "rows_128_us": microseconds(session, package.golden.inputs, 128),
    }


def _fields(package: "Package", facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The same as text: a label and a value on each line."""
    generators = facts["generators"]
    rows = sum(one["rows"] for one in generators)
    names = " ".join(one["generator"] for one in generators)
    worst = max((one["worst_difference"] for one in generators), default=0.0)
    proof = f"exact on {rows:,} rows ({names}) in {facts['seconds']:.1f} s, largest difference {worst:.1e}"
    return [
        ("package", facts["package"]),
        ("model", f"{facts['estimator']} ({facts['framework']})"),
        ("size", f"{facts['bytes']:,} bytes"),
        ("trees", f"{facts['trees']:,}, nodes {facts['nodes']:,}"),
        ("inputs", _ports(list(package.manifest.inputs))),
        ("outputs", _ports(list(package.manifest.outputs))),
        ("parity", proof),
        ("forest", _forest(facts)),
        ("exact for", facts["exact_datatype"]),
        *(("note", note) for note in facts["notes"]),
        *(("sampled", note) for note in facts["sampled"]),
        ("1 row", f"{facts['row_us']:,.0f} µs"),
        ("128 rows", f"{facts['rows_128_us']:,.0f} µs"),
    ]


def _forest(facts: dict[str, Any]) -> str:
    if facts["without_forest"]:
        return f"none, ONNX Runtime runs all of it: {facts['without_forest']}"
    return f"the bits of ONNX Runtime on {facts['forest_rows']:,} rows"


def _ports(tensors: "list[Tensor]") -> str:
    shown = [f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in tensors[:INPUTS_SHOWN]]
    rest = len(tensors) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
