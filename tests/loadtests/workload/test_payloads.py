"""Payloads look like the training rows, and are what the protocol asks for."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from onnxpress.loadtests.errors import UsageError
from onnxpress.loadtests.workload.packages import read_package, read_packages
from onnxpress.loadtests.workload.payloads import draw_feature, encode, pool, raw, rows_of_file, tensors_of
from onnxpress.packages.golden import Golden
from onnxpress.packages.package import Package
from onnxpress.protos.inference_pb2 import ModelInferRequest
from onnxpress.protos.package_pb2 import (
    Category,
    CategoryProfile,
    Feature,
    FeatureProfile,
    Layout,
    Manifest,
    NumericProfile,
    Profile,
    Tensor,
)

ROWS = 20_000
NUMBER = FeatureProfile(
    name="age",
    datatype="FP32",
    missing_rate=0.2,
    numeric=NumericProfile(min=18, max=80, edges=[30, 50], counts=[700, 200, 100], integral=True),
)
TEXT = FeatureProfile(
    name="contract",
    datatype="BYTES",
    categories=CategoryProfile(top=[Category(value="month", count=90), Category(value="zwei Jahre ü", count=10)]),
)


def columns_package() -> Package:
    manifest = Manifest(
        name="churn",
        version=3,
        layout=Layout.COLUMNS,
        inputs=[
            Tensor(name="age", datatype="FP32", shape=[-1, 1]),
            Tensor(name="contract", datatype="BYTES", shape=[-1, 1]),
        ],
        outputs=[Tensor(name="prediction", datatype="FP32", shape=[-1, 1])],
        features=[Feature(name="age", datatype="FP32"), Feature(name="contract", datatype="BYTES")],
    )
    golden = Golden(
        {"age": np.array([[44], [55]], np.float32), "contract": np.array([["month"], ["zwei Jahre ü"]])},
        {"prediction": np.array([[0.5], [0.25]])},
        {"prediction": np.array([[1e-6], [1e-6]])},
    )
    return Package(b"", manifest, Profile(features=[NUMBER, TEXT]), golden=golden)


def test_numbers_are_drawn_by_bin_whole_and_missing_as_in_training():
    """Each bin has its share, values are whole where training's were, a fifth is missing."""
    drawn = draw_feature(NUMBER, ROWS, np.random.default_rng(1))
    assert drawn.dtype == np.float32
    present = drawn[~np.isnan(drawn)]
    assert np.isnan(drawn).mean() == pytest.approx(0.2, abs=0.015)
    assert np.all(present == np.floor(present))
    assert present.min() >= 18
    assert present.max() <= 80
    assert np.mean(present < 30) == pytest.approx(0.7, abs=0.015)
    assert np.mean(present >= 50) == pytest.approx(0.1, abs=0.015)


def test_texts_are_drawn_by_frequency():
    """The rare category comes as rarely as it did."""
    drawn = draw_feature(TEXT, ROWS, np.random.default_rng(1))
    assert set(drawn.tolist()) == {"month", "zwei Jahre ü"}
    assert np.mean(drawn == "zwei Jahre ü") == pytest.approx(0.1, abs=0.01)


def test_integers_and_booleans_keep_their_type_and_have_no_missing():
    """A column that cannot express a missing value is sent without."""
    profile = FeatureProfile(
        name="flag",
        datatype="BOOL",
        missing_rate=0.5,
        numeric=NumericProfile(min=0, max=1, edges=[1], counts=[300, 700], integral=True),
    )
    drawn = draw_feature(profile, ROWS, np.random.default_rng(1))
    assert drawn.dtype == bool
    assert drawn.mean() == pytest.approx(0.7, abs=0.02)


def test_a_request_has_its_raw_contents_last_and_reads_back():
    """Several inputs, numbers and text: shape, datatype and bytes as the protocol says."""
    package = columns_package()
    rows = {"age": np.array([20, np.nan], np.float32), "contract": np.array(["month", None], object)}
    body = encode(package, tensors_of(package, rows))
    request = ModelInferRequest.FromString(body)
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in request.inputs] == [
        ("age", "FP32", [2, 1]),
        ("contract", "BYTES", [2, 1]),
    ]
    assert np.frombuffer(request.raw_input_contents[0], np.float32)[0] == 20
    assert request.raw_input_contents[1] == b"\x05\0\0\0month\0\0\0\0"
    assert body.endswith(request.raw_input_contents[1])


def test_a_quarter_of_the_payloads_begin_with_a_golden_row():
    """Those carry the original's answer for the version that it belongs to."""
    payloads = pool([columns_package()], 2, None, seed=1, size=16)
    known = [index for index, payload in enumerate(payloads) if payload.expected]
    assert known == [0, 4, 8, 12]
    request = ModelInferRequest.FromString(payloads[4].body)
    assert np.frombuffer(request.raw_input_contents[0], np.float32)[0] == 55
    assert payloads[4].expected[3].outputs["prediction"] == 0.25
    assert request.raw_input_contents[1].startswith(raw(np.array(["zwei Jahre ü"], object), "BYTES"))


def test_rows_of_a_file_are_sent_as_they_are(tmp_path):
    """A CSV with a header, its columns in any order, its gaps as missing values."""
    path = tmp_path / "rows.csv"
    path.write_text("contract,age\nmonth,31\nzwei Jahre ü,\n", encoding="utf-8")
    rows = rows_of_file(columns_package(), path)
    assert rows["age"][0] == 31
    assert np.isnan(rows["age"][1])
    assert rows["contract"].tolist() == ["month", "zwei Jahre ü"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age\n31\n", "no column 'contract'"),
        ("age,contract\nold,month\n", "'age' is FP32, and 'old' is not"),
        ("", "no column 'age'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_column(tmp_path, text, says):
    """The message names the file's column and what is wrong with it."""
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        rows_of_file(columns_package(), path)


def test_a_package_without_a_profile_asks_for_a_file():
    """There is nothing to draw from."""
    package = Package(b"", columns_package().manifest)
    with pytest.raises(UsageError, match="--rows-file"):
        pool([package], 1, None, seed=1, size=4)


def test_a_folder_that_is_no_package_is_refused(tmp_path, repository):
    """Missing folder, broken manifest, versions that no request fits both."""
    with pytest.raises(UsageError, match="no package at"):
        read_package(tmp_path / "nowhere")
    other = Path(shutil.copytree(repository / "churn" / "1", tmp_path / "churn" / "9"))
    text = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"manifest\.json cannot be parsed"):
        read_package(other)
    (other / "manifest.json").unlink()
    with pytest.raises(UsageError, match=r"has no manifest\.json"):
        read_package(other)
    (other / "manifest.json").write_text(text.replace('"FP32"', '"FP64"').replace('"version": "1"', '"version": "9"'))
    with pytest.raises(UsageError, match="versions 1 and 9 of churn take different inputs"):
        read_packages([repository / "churn" / "1", other])
