"""The generated modules are those of the protos beside them, and our protocol is Triton's on the wire."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpress.protos import inference_pb2
from tests.server_process import PATIENCE_S, ROOT

PLAIN = ("package", "deployment", "onnx_graph")
WITH_SERVICES = ("inference", "admin")


def test_generated_modules_are_fresh(tmp_path: Path) -> None:
    """`make protos` would change nothing."""
    base = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    for options, names in (([], PLAIN), ([f"--grpc_python_out={tmp_path}"], WITH_SERVICES)):
        files = [f"onnxpress/protos/{name}.proto" for name in names]
        subprocess.run([*base, *options, *files], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_S)
    made = sorted(path.name for path in (tmp_path / "onnxpress/protos").iterdir())
    assert made == sorted(path.name for path in (ROOT / "protos").glob("*_pb2*.py*"))
    stale = [
        name
        for name in made
        if (tmp_path / "onnxpress/protos" / name).read_text() != (ROOT / "protos" / name).read_text()
    ]
    assert stale == []


def test_every_proto_is_generated() -> None:
    """A new .proto must be named in the Makefile and here."""
    assert {path.stem for path in (ROOT / "protos").glob("*.proto")} == {*PLAIN, *WITH_SERVICES}


@pytest.fixture(scope="module")
def tritons() -> dict[str, dict[str, list[object]]]:
    """Every message of tritonclient's descriptor: full name -> field name -> number, type, label, message type."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.protos.triton_descriptors"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    told: dict[str, dict[str, list[object]]] = json.loads(child.stdout)
    return told


def test_messages_are_tritons(tritons: dict[str, dict[str, list[object]]]) -> None:
    """Every field that we have is tritonclient's: name, number, type, repeated or not, and what it holds."""
    messages = tritons["messages"]
    todo, differ = list(inference_pb2.DESCRIPTOR.message_types_by_name.values()), []
    while todo:
        message = todo.pop()
        todo += message.nested_types
        theirs = messages.get(message.full_name)
        if theirs is None:
            differ.append(message.full_name)
            continue
        for field in message.fields:
            kind = field.message_type.full_name if field.message_type else ""
            ours = [field.number, field.type, field.is_repeated, kind]
            if theirs.get(field.name) != ours:
                differ.append(f"{message.full_name}.{field.name}: ours {ours}, tritonclient's {theirs.get(field.name)}")
    assert differ == []


def test_enums_and_methods_are_tritons(tritons: dict[str, dict[str, list[object]]]) -> None:
    """Datatypes have Triton's numbers, and every method takes and gives what tritonclient's does."""
    for enum in inference_pb2.DESCRIPTOR.enum_types_by_name.values():
        theirs = dict(tritons["enums"][enum.full_name])
        assert {value.name: value.number for value in enum.values}.items() <= theirs.items()
    for method in inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        ours = [
            method.input_type.full_name,
            method.output_type.full_name,
            method.client_streaming,
            method.server_streaming,
        ]
        assert tritons["methods"][method.name] == ours, method.name


def test_admin_proto_stands_alone() -> None:
    """admin.proto neither imports nor defines anything of package inference: both can live in one process."""
    from onnxpress.protos import admin_pb2

    assert admin_pb2.DESCRIPTOR.package == "onnxpress.v1"
    assert [file.name for file in admin_pb2.DESCRIPTOR.dependencies] == [
        "google/protobuf/timestamp.proto",
        "onnxpress/protos/deployment.proto",
    ]
