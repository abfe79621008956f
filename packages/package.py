"""A package in memory: a compiled model with the proof that it answers as the original does."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from onnxpress.packages import digests
from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.golden import Golden
from onnxpress.packages.write import as_json, write_version
from onnxpress.protos.package_pb2 import Layout, Manifest, ParityReport, Profile

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
PROFILE_FILE = "profile.json"
GOLDEN_FILE = "golden.npz"
PARITY_FILE = "parity.json"
FOREST_FILE = "forest.npz"
# The frameworks whose graphs our converters write; a model that was given as ONNX is not proved by its package.
OUR_FRAMEWORKS = frozenset({"sklearn", "xgboost", "lightgbm"})
BATCHES = "B"  # the generator of parity.json that runs the same rows in other batches


@dataclass(frozen=True)
class Package:
    """One version of a model: made by `onnxpress.convert`, or read from a folder by `onnxpress.load`.

    onnx: the bytes of model.onnx. manifest: name, version (0 until it is saved), inputs, outputs, digests; of a bare
    model.onnx, as in Triton's repositories, name and version alone. profile: reference statistics of the training rows.
    parity: how the compiled model was compared with the original. golden: stored rows with the original's answers.
    forest: the content of forest.npz, the same model for the second engine (`packages.forest.CompiledForest`); empty if
    ONNX Runtime runs all of it.
    folder: the one that it was read from; None after a conversion.
    """

    onnx: bytes
    manifest: Manifest
    profile: Profile = field(default_factory=Profile)
    parity: ParityReport = field(default_factory=ParityReport)
    golden: Golden = field(default_factory=lambda: Golden({}, {}, {}))
    forest: bytes = b""
    folder: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        source = self.manifest.source
        return f"Package({self.model}/{self.version}, {source.framework or 'bare'} {source.estimator}".rstrip() + ")"

    @property
    def model(self) -> str:
        """The name that clients call."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """0 until the package is saved."""
        return self.manifest.version

    @property
    def bare(self) -> bool:
        """Whether there is only a model.onnx: no manifest, no golden rows, no proof."""
        return not self.manifest.format

    @cached_property
    def digest(self) -> str:
        """SHA-256 of `onnx` in hexadecimal."""
        return digests.digest_of(self.onnx)

    @property
    def proved(self) -> bool:
        """Whether our converter wrote the graph, and its rows gave the same bits in every batch."""
        return (
            self.manifest.source.framework in OUR_FRAMEWORKS
            and self.parity.exact
            and any(one.generator == BATCHES and one.rows > 0 and one.outside == 0 for one in self.parity.generators)
        )

    @property
    def matrix(self) -> bool:
        """Whether the model takes one matrix of all columns rather than one input per column."""
        return self.manifest.layout == Layout.MATRIX

    def columns(self) -> list[tuple[str, str]]:
        """(name, datatype) of every column of the training rows, in order."""
        return [(feature.name, feature.datatype) for feature in self.manifest.features]

    def save(self, repository: str | os.PathLike[str], version: int | None = None) -> Path:
        """Writes `<repository>/<name>/<version>/` and returns its path; `version` defaults to the highest plus one.

        The folder appears complete or not at all. Raises ConversionRefused when the version exists, since versions
        never change, and for a bare model, which has no proof to save; OSError when it cannot be written.
        """
        if self.bare:
            raise ConversionRefused(f"{self.model} is a bare {MODEL_FILE} without a proof: convert it first")
        return write_version(Path(repository), self.model, version, self._files)

    def verify(self) -> None:
        """Verifies file digests and replays the golden rows on the local ONNX Runtime.

        Files are read again from the folder; of a package that is not on disk yet only golden rows are checked.
        Raises RefusedPackageError naming the file or the golden row that differs.
        """
        # ONNX Runtime is imported only by processes that verify or serve.
        from onnxpress.packages.runtime import Session, replay  # noqa: PLC0415

        if self.folder is not None:
            digests.check_folder(self.manifest, self.folder)
        session = Session(self.onnx)
        if self.golden:
            replay(session, self.golden, self.manifest.classes)

    def _files(self, number: int) -> dict[str, bytes]:
        files = {
            MODEL_FILE: self.onnx,
            PROFILE_FILE: as_json(self.profile),
            GOLDEN_FILE: self.golden.to_bytes(),
            PARITY_FILE: as_json(self.parity),
        }
        if self.forest:
            files[FOREST_FILE] = self.forest
        manifest = Manifest()
        manifest.CopyFrom(self.manifest)
        manifest.version = number
        digests.record(manifest, files)
        return {**files, MANIFEST_FILE: as_json(manifest)}
