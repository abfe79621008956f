"""Model files: each suffix is read by its library, and no code runs that the caller has not trusted."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import joblib
import lightgbm
import numpy as np
import onnx
import pytest
import skops.io
from onnx import helper
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from xgboost import XGBRegressor

from onnxpress import ConversionRefused
from onnxpress.converters.loading import Trust, load

ROWS = np.random.default_rng(0).normal(size=(60, 3))
TARGET = ROWS[:, 0] * 2 + ROWS[:, 1]
VOUCHED = Trust(pickle=True)


def twice(values: Any) -> Any:
    return values * 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One file of each suffix."""
    linear = LinearRegression().fit(ROWS, TARGET)
    boosted = XGBRegressor(n_estimators=3).fit(ROWS, TARGET)
    boosted.save_model(tmp_path / "model.ubj")
    boosted.save_model(tmp_path / "model.json")
    grown = lightgbm.train({"verbose": -1, "min_data_in_leaf": 5}, lightgbm.Dataset(ROWS, TARGET), 3)
    grown.save_model(tmp_path / "model.txt")
    joblib.dump(linear, tmp_path / "model.joblib")
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(linear))
    skops.io.dump(linear, tmp_path / "model.skops")
    node = helper.make_node("Identity", ["x"], ["y"])
    ports = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xy"]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:])
    (tmp_path / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return tmp_path


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".ubj", "Booster"),
        (".json", "Booster"),
        (".txt", "Booster"),
        (".joblib", "LinearRegression"),
        (".pkl", "LinearRegression"),
        (".skops", "LinearRegression"),
        (".onnx", "ModelProto"),
    ],
)
def test_reads_each_suffix_and_digests_what_it_read(folder: Path, suffix: str, kind: str) -> None:
    """The result has the model's type and the SHA-256 of the file."""
    path = folder / f"model{suffix}"
    loaded = load(path, VOUCHED)
    assert type(loaded.model).__name__ == kind
    assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", [".pkl", ".joblib"])
def test_pickles_run_only_when_trusted(tmp_path: Path, suffix: str) -> None:
    """Without trust the file is refused before any of its code runs; with trust it runs."""
    mark, path = tmp_path / "mark", tmp_path / f"bomb{suffix}"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ConversionRefused, match="--trust-pickle"):
        load(path, Trust())
    assert not mark.exists()
    load(path, VOUCHED)
    assert mark.exists()


def test_skops_names_its_untrusted_types(tmp_path: Path) -> None:
    """The refusal lists the types and the flags that allow them; with those the file loads."""
    path = tmp_path / "own.skops"
    model = make_pipeline(FunctionTransformer(twice), LinearRegression()).fit(ROWS, TARGET)
    skops.io.dump(model, path)
    untrusted = skops.io.get_untrusted_types(file=path)
    with pytest.raises(ConversionRefused) as refusal:
        load(path, VOUCHED)
    assert untrusted
    assert all(f"--trust-type {name}" in str(refusal.value) for name in untrusted)
    loaded = load(path, Trust(types=tuple(untrusted))).model
    assert np.allclose(loaded.predict(ROWS), model.predict(ROWS))


@pytest.mark.parametrize("suffix", [".ubj", ".json", ".txt", ".joblib", ".pkl", ".skops", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"tree\nnot a model", b"\x00\xff" * 40])
def test_broken_files_are_refused_in_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    """For any error of the library the message is one line that names the file."""
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ConversionRefused) as refusal:
        load(path, VOUCHED)
    assert str(refusal.value).startswith(f"broken{suffix}")
    assert "\n" not in str(refusal.value)


def test_a_file_that_crashes_its_library_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on which XGBoost's parser aborts crashes a child process only, and is named."""
    monkeypatch.setattr("onnxpress.converters.loading.XGBOOST_TRIAL", "import os; os.abort()")
    with pytest.raises(ConversionRefused, match=r"model\.ubj: its library crashes on it \(signal 6\)"):
        load(folder / "model.ubj", Trust())


def test_unknown_suffixes_are_refused_with_the_known_ones(tmp_path: Path) -> None:
    """The refusal of a .h5 file lists the known suffixes."""
    with pytest.raises(ConversionRefused, match=r"model\.h5: models come as \.ubj, \.json"):
        load(tmp_path / "model.h5", VOUCHED)


def test_a_json_that_is_no_model_is_refused(tmp_path: Path) -> None:
    """JSON that is not a model does not become an empty booster."""
    path = tmp_path / "other.json"
    path.write_text('{"a": 1}')
    with pytest.raises(ConversionRefused, match=r"other\.json"):
        load(path, VOUCHED)
