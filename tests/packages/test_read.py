"""Reading a folder: the manifest is of that model and version, and the digests match."""

import shutil
from pathlib import Path

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.packages.read import read_package
from tests.model_repository import Models, copy_version

MIB_MAX = 64


def test_a_package_is_read_where_it_belongs(models: Models, tmp_path: Path) -> None:
    """Model, version, digest and golden rows come from the folder; so they do of a version that was renumbered."""
    models.copy(tmp_path, "price/1")
    package = read_package(tmp_path / "price/1", "price", 1, MIB_MAX)
    other = read_package(copy_version(tmp_path / "price/1", 12), "price", 12, MIB_MAX)
    assert (package.model, package.version, other.version) == ("price", 1, 12)
    assert package.digest == other.digest
    assert len(package.golden) > 0
    assert package.profile.rows > 0
    assert package.proved


@pytest.mark.parametrize("place", ["price/2", "prices/1", "prices/2"])
def test_a_package_in_another_folder_is_refused(models: Models, tmp_path: Path, place: str) -> None:
    """A folder that was copied or renamed is refused; the message has the manifest's version and the folder's."""
    shutil.copytree(models.root / "price/1", tmp_path / place)
    model, version = place.split("/")
    with pytest.raises(RefusedPackageError, match=r"manifest\.json is of version 1 of 'price'") as caught:
        read_package(tmp_path / place, model, int(version), MIB_MAX)
    assert f"version {version} of {model!r}" in str(caught.value)


def test_a_bare_model_lies_anywhere(models: Models) -> None:
    """Without a manifest, model and version are those of the folder."""
    package = read_package(models.root / "bare/1", "bare", 1, MIB_MAX)
    assert (package.model, package.version, package.bare, len(package.golden)) == ("bare", 1, True, 0)
    assert not package.proved


def test_a_changed_file_is_refused(models: Models, tmp_path: Path) -> None:
    """Every file that the manifest names must have the digest that it states."""
    models.copy(tmp_path, "price/1")
    with (tmp_path / "price/1/profile.json").open("a") as file:
        file.write(" ")
    with pytest.raises(RefusedPackageError, match=r"profile\.json has digest"):
        read_package(tmp_path / "price/1", "price", 1, MIB_MAX)
