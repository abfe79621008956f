"""`onnxpress verify`: a package's digests, and its golden rows on this machine's ONNX Runtime."""

from pathlib import Path

import click

from onnxpress.cli.options import RefusedError, output_option
from onnxpress.cli.output import print_fields, print_json


@click.command
@click.argument("package", type=click.Path(path_type=Path), metavar="PACKAGE")
@output_option
def verify(package: Path, output: str) -> None:
    """Verifies file digests and replays the golden rows on the local ONNX Runtime.

    PACKAGE is a version's folder, such as models/churn/1. Exit code 3 if a check fails.
    """
    # ONNX Runtime is imported late: --help does not need it.
    from onnxpress.packages.errors import OnnxpressError
    from onnxpress.packages.names import VERSION_RULE, is_version
    from onnxpress.packages.package import MODEL_FILE
    from onnxpress.packages.read import read_package
    from onnxpress.server.serving import runtime
    from onnxpress.server.settings import Settings
    from onnxpress.server.versions.loader import Loader

    folder = package.resolve()
    if not (folder / MODEL_FILE).is_file():
        raise click.UsageError(f"{package} holds no {MODEL_FILE}")
    if not is_version(folder.name):
        raise click.UsageError(f"{folder.name} is not {VERSION_RULE}, as a version's folder is named")
    limits = Settings(repository=folder.parent)
    try:
        read = read_package(folder, folder.parent.name, int(folder.name), limits.model_mib_max)
        lane = Loader(limits.latency_target_ms, limits.batch_rows_max).load(read)
    except OnnxpressError as refusal:
        raise RefusedError(f"refused: {refusal}") from refusal
    facts = {
        "package": str(package),
        "digest": read.digest,
        "files": len(read.manifest.files),
        "golden_rows": len(read.golden),
        "onnxruntime_version": runtime.VERSION,
        # A version whose rows cannot be batched has no measured curve.
        "row_us": lane.cost.curve[1] if lane.signature.batchable else None,
        "batch_rows": lane.cost.batch_rows,
        "engine": lane.session.engine,
        "forest_rows": None if lane.session.without_forest else lane.session.forest_rows,
    }
    if output == "json":
        print_json("verify/v1", facts)
        return
    alone = f"1 row {facts['row_us']:.0f} us, " if facts["row_us"] is not None else ""
    print_fields(
        [
            ("digests", f"{facts['files']} files hold" if facts["files"] else "none: no manifest.json"),
            ("golden", f"{facts['golden_rows']} rows answer as the original did" if facts["golden_rows"] else "none"),
            ("runtime", f"ONNX Runtime {runtime.VERSION}, {alone}batches of up to {facts['batch_rows']} rows"),
            ("engine", lane.session.engine),
            ("model", read.digest),
        ]
    )
