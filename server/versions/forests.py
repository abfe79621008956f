"""Decides whether a version's compiled forest may run its batches: only if it gives ONNX Runtime's bits here too."""

import logging
import zipfile

from onnxpress.packages.errors import ForestError, RunError
from onnxpress.packages.forest.agreement import first_disagreement, of_each_size
from onnxpress.packages.forest.compiled import CompiledForest
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.packages.package import Package
from onnxpress.packages.runtime import Session

NO_PROOF = "its package has no proof"
DIFFERENT = "the compiled forest is disabled: the engines differ here on a golden row"
NONE_PACKED = "its package was converted without one: convert it again"

logger = logging.getLogger(__name__)


def forest_of(package: Package, session: Session, *, compared: bool = False) -> tuple[ForestEngine | None, str]:
    """The engine of the package's forest, or None and the reason.

    Runs the golden rows through both engines in batches of every size, unless the version's preflight has `compared`
    them on this machine; a difference disables the forest and is logged.
    """
    if not package.proved:
        return None, NO_PROOF
    if not package.forest or not package.parity.forest.rows:
        return None, package.parity.forest.reason or NONE_PACKED
    try:
        engine = ForestEngine(CompiledForest.from_bytes(package.forest))
        difference = "" if compared else _difference(engine, session, package)
    except ForestError as error:
        return None, str(error)
    except (ValueError, OSError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        return None, f"its forest.npz cannot be read: {error}"
    except RunError as error:
        difference = str(error)
    if difference:
        # The row is in the log only: the reason is told to every client that asks.
        logger.error("model %r version %d: %s: %s", package.model, package.version, DIFFERENT, difference)
        return None, DIFFERENT
    return engine, ""


def _difference(engine: ForestEngine, session: Session, package: Package) -> str:
    feeds = package.golden.feeds()
    found = first_disagreement(engine.run, feeds, session.run(feeds), of_each_size(len(package.golden)))
    if found is None:
        return ""
    row = {name: values[found.row].tolist() for name, values in feeds.items()}
    return f"{found}; the row is {row}"
