"""Re-check a package's digests, and its golden rows on this machine's ONNX Runtime."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from onnxpress.packages.errors import OnnxpressError
from onnxpress.packages.names import VERSION_RULE, is_version
from onnxpress.packages.read import MODEL_FILE, read_package
from onnxpress.server.serving import runtime
from onnxpress.server.settings import Settings
from onnxpress.server.versions.loader import Loader

USAGE, REFUSED = 2, 3


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="onnxpress verify", description=__doc__)
    parser.add_argument("package", type=Path, metavar="PACKAGE", help="a version's folder, such as models/churn/1")
    folder: Path = parser.parse_args(argv[1:]).package.resolve()
    if not (folder / MODEL_FILE).is_file():
        print(f"onnxpress verify: {folder.name} holds no {MODEL_FILE}", file=sys.stderr)
        return USAGE
    if not is_version(folder.name):
        print(f"onnxpress verify: {folder.name} is not {VERSION_RULE}, as a version's folder is named", file=sys.stderr)
        return USAGE
    limits = Settings(repository=folder.parent)
    try:
        package = read_package(folder, folder.parent.name, int(folder.name), limits.model_mib_max)
        lane = Loader(limits.latency_target_ms, limits.batch_rows_max).load(package)
    except OnnxpressError as refusal:
        print(f"onnxpress verify: refused: {refusal}", file=sys.stderr)
        return REFUSED
    files = len(package.manifest.files) if package.manifest else 0
    golden = len(next(iter(package.golden.outputs.values()), ())) if package.golden else 0
    print(f"digests   {f'{files} files hold' if files else 'none: no manifest.json'}")
    print(f"golden    {f'{golden} rows answer as the original did' if golden else 'none'}")
    alone = f"1 row {lane.cost.curve[1]:.0f} us, "
    print(f"runtime   ONNX Runtime {runtime.VERSION}, {alone}batches of up to {lane.cost.batch_rows} rows")
    print(f"model     {package.digest}")
    return 0
