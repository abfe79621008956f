"""The client, sync and asyncio, against real servers over real sockets."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest

import onnxpress
from onnxpress import CallError, ClientError, RowsError
from onnxpress.client.errors import (
    AccessError,
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    RefusedError,
    UnavailableError,
)
from onnxpress.packages.golden import as_feed
from onnxpress.server import errors
from onnxpress.server.wire.status import status_of
from tests.answers import number_rows
from tests.client.both_clients import Connect, both
from tests.client.recorded_server import ANSWER, METADATA, recorded
from tests.e2e.test_rolling_restart import free_port
from tests.e2e.test_tls import Certificates
from tests.inference_calls import same
from tests.model_repository import Models
from tests.server_process import ServerProcess

Start = Callable[..., ServerProcess]


def frame_of(inputs: dict[str, Any], features: list[str]) -> pd.DataFrame:
    """Rows of the compiled model's inputs as its user has them: one column each, in another order than the model's."""
    columns = dict(zip(features, next(iter(inputs.values())).T, strict=True)) if len(inputs) == 1 else inputs
    frame = pd.DataFrame({name: pd.Series(list(values.ravel())) for name, values in columns.items()})
    return frame[frame.columns[::-1]]


def as_structured(frame: pd.DataFrame) -> np.ndarray:
    return frame.to_records(index=False).view(np.ndarray)


FORMS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "DataFrame": lambda frame: frame,
    "list of dicts": lambda frame: frame.to_dict("records"),
    "structured array": as_structured,
    "mapping": lambda frame: {name: frame[name].tolist() for name in frame},
}


@both
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("model", ["churn", "price"])
def test_golden_rows_get_the_originals_answers(
    server: ServerProcess, models: Models, connect: Connect, model: str, form: str
) -> None:
    """Rows in every accepted form get the same bits as from ONNX Runtime."""
    package = onnxpress.load(models.root / model / "1")
    feeds = {name: as_feed(values) for name, values in package.golden.inputs.items()}
    rows = FORMS[form](frame_of(feeds, [name for name, _ in package.columns()]))
    with connect(server.grpc) as client:
        result = client.infer(model, rows, request_id="golden")
    assert (result.model, result.version, result.id) == (model, 1, "golden")
    assert same(result.outputs, models.answers(f"{model}/1")(feeds))
    assert package.golden.first_difference(result.outputs, package.manifest.classes) is None


@both
def test_arrays_are_taken_by_position(server: ServerProcess, models: Models, connect: Connect) -> None:
    """A 2-D array is the matrix itself, in the model's order; a mapping may name the input."""
    rows = number_rows(5)
    expected = models.answers("numbers/2")({"input": rows})
    with connect(server.grpc) as client:
        for asked in (rows, rows.astype(np.float64), {"input": rows}):
            assert same(client.infer("numbers", asked).outputs, expected)
        assert same(client.infer("bare", rows).outputs, models.answers("bare/1")({"input": rows}))
        one = client.infer("numbers", rows, 1, outputs=["label"])
    assert one.version == 1
    assert list(one.outputs) == ["label"]
    assert one["label"].tolist() == models.answers("numbers/1")({"input": rows})["label"].tolist()
    with pytest.raises(KeyError, match="no output 'probabilities': there are label"):
        one["probabilities"]


@both
def test_a_matrix_without_names_takes_arrays_only(server: ServerProcess, connect: Connect) -> None:
    """A bare model does not name its columns, so rows by name are refused."""
    with connect(server.grpc) as client, pytest.raises(RowsError, match="does not name its columns: give a 2-D array"):
        client.infer("bare", pd.DataFrame(number_rows(2)))


@both
def test_rows_that_do_not_fit_are_told_before_they_are_sent(server: ServerProcess, connect: Connect) -> None:
    """The message names column, expected and got."""
    good = {"contract": "monthly", "city": "Ulm", "charges": 1.5, "tenure": 3}
    with connect(server.grpc) as client:
        for change, words in (
            ({"tenure": float("nan")}, "column 'tenure' is INT64 and cannot be missing: value 0 is nan"),
            ({"tenure": 1.5}, "column 'tenure' is INT64: value 0 is 1.5"),
            ({"city": 5}, "column 'city' is BYTES .text.: value 0 is 5 of type int"),
            ({"sity": "Ulm"}, "unexpected column 'sity': the model takes 'contract', 'city', 'charges', 'tenure'"),
        ):
            with pytest.raises(RowsError, match=words):
                client.infer("churn", [{**good, **change}])
        with pytest.raises(InvalidRequestError, match="column 'contract' has the value 'weekly'") as caught:
            client.infer("churn", [{**good, "contract": "weekly"}])
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@both
def test_unknown_models_versions_and_words(server: ServerProcess, connect: Connect) -> None:
    """An unknown model or version is NOT_FOUND from the server; an impossible argument raises before any call."""
    with connect(server.grpc) as client:
        with pytest.raises(NotFoundError, match="model 'churns' is not served") as caught:
            client.infer("churns", number_rows(1))
        assert caught.value.message.startswith("model 'churns'")
        with pytest.raises(NotFoundError, match="version"):
            client.infer("numbers", number_rows(1), 99)
        with pytest.raises(ValueError, match="version 0 is not a positive integer"):
            client.infer("numbers", number_rows(1), 0)
        with pytest.raises(ValueError, match="priority 'urgent' is not one of critical, default, sheddable"):
            client.infer("numbers", number_rows(1), priority="urgent")


@both
def test_nobody_there_is_told_at_once(connect: Connect) -> None:
    """A wrong port is one clear error that names the address, not a wait for the deadline."""
    address = f"127.0.0.1:{free_port()}"
    with connect(address, address) as client:
        for call in (lambda: client.infer("m", number_rows(1)), client.status):
            with pytest.raises(UnavailableError, match=f"no server answers at {address}"):
                call()


@both
def test_deploys_rolls_back_and_tells(start: Start, connect: Connect) -> None:
    """Each is one call, whose result agrees with the next answers and with the audit log."""
    server = start("numbers/1", "numbers/2")
    rows = number_rows(1)
    with connect(server.grpc, server.admin, actor="ana") as client:
        first = client.deploy("numbers", 1, reason="known good")
        assert client.infer("numbers", rows).version == 1
        done = client.deploy("numbers", 2, reason="better", expected_epoch=first.epoch)
        assert (done.model, done.version, done.previous_version, done.changed) == ("numbers", 2, 1, True)
        assert client.infer("numbers", rows).version == 2
        assert not client.deploy("numbers", 2).changed
        (told,) = client.status("numbers")
        assert [told] == client.status()
        assert (told.live_version, told.previous_version, told.actor, told.reason) == (2, 1, "ana", "better")
        assert [(one.version, one.state) for one in told.versions] == [(1, "ready"), (2, "ready")]
        assert told.updated_at is not None
        with pytest.raises(ConflictError, match="epoch"):
            client.deploy("numbers", 1, expected_epoch=first.epoch)
        dry = client.rollback("numbers", dry_run=True)
        assert (dry.version, dry.changed) == (1, False)
        assert client.infer("numbers", rows).version == 2
        assert client.rollback("numbers").version == 1
        assert client.infer("numbers", rows).version == 1
        with pytest.raises(NotFoundError, match="version 9"):
            client.deploy("numbers", 9)
        if client.status("numbers")[0].previous_version:
            client.rollback("numbers")
        with pytest.raises(RefusedError, match="no earlier version to go back to"):
            client.rollback("numbers")


@both
def test_the_admin_port_may_want_a_token(start: Start, tmp_path: Path, connect: Connect) -> None:
    """Without the token, and with another one, an admin call is refused; with it, it is not."""
    (tmp_path / "token").write_text("secret\n")
    server = start("price", tried=True, flags=("--admin-token-file", str(tmp_path / "token")))
    for token in ("", "guess"):
        with connect(server.grpc, server.admin, token=token) as client, pytest.raises(AccessError):
            client.status()
    with connect(server.grpc, server.admin, token="secret") as client:
        assert client.status("price")[0].live_version == 1


@both
def test_inference_over_tls(start: Start, tmp_path: Path, connect: Connect) -> None:
    """Credentials of the data port are gRPC's own, client certificates included."""
    files = Certificates(tmp_path)
    server = start("price", front="grpcio", tried=True, flags=files.flags(mutual=True))
    issued = files.authority.issue_cert("client")
    credentials = grpc.ssl_channel_credentials(
        files.authority.cert_pem.bytes(), issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    )
    with connect(server.grpc, server.admin, credentials=credentials) as client:
        assert client.infer("price", number_rows(2)[:, :4]).version == 1
        assert client.status("price")[0].live_version == 1
    with connect(server.grpc) as client, pytest.raises(UnavailableError):
        client.infer("price", number_rows(2)[:, :4])


@both
def test_what_a_call_carries(connect: Connect) -> None:
    """Priority, route key, id and metadata of the caller's arrive; the signature is asked for once."""
    with recorded(lambda _number, _context: ANSWER) as seen, connect(seen.address) as client:
        for _ in range(2):
            result = client.infer(
                "m", [{"age": 3}], request_id="one", priority="critical", route_key="ana", metadata=[("x-own", "1")]
            )
    assert (result["prediction"].tolist(), result.version) == ([7], 1)
    assert [name for name, _, _ in seen.calls] == ["ModelMetadata", "ModelInfer", "ModelInfer"]
    _, request, metadata = seen.calls[-1]
    assert (request.id, request.model_version) == ("one", "")
    assert request.raw_input_contents == [(3).to_bytes(8, "little")]
    assert (metadata["x-onnxpress-priority"], metadata["route-key"], metadata["x-own"]) == ("critical", "ana", "1")


@both
@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata"])
@pytest.mark.parametrize(("failures", "attempts"), [(2, 3), (9, 4)])
def test_a_refused_call_is_sent_again_as_published(connect: Connect, method: str, failures: int, attempts: int) -> None:
    """UNAVAILABLE is retried by the published service config, up to its four attempts."""

    def refusing(answer: Any) -> Callable[[int, grpc.ServicerContext], Any]:
        def call(number: int, context: grpc.ServicerContext) -> Any:
            if number < failures:
                context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
            return answer

        return call

    refuses = {"ModelInfer": {"infer": refusing(ANSWER)}, "ModelMetadata": {"describe": refusing(METADATA)}}[method]
    answers = {"infer": lambda _number, _context: ANSWER, **refuses}
    with recorded(**answers) as seen, connect(seen.address) as client:
        if failures < attempts:
            assert client.infer("m", [{"age": 3}]).version == 1
        else:
            with pytest.raises(UnavailableError, match="not now"):
                client.infer("m", [{"age": 3}])
    assert len(seen.of(method)) == attempts


@both
def test_the_timeout_is_for_everything(connect: Connect) -> None:
    """A server that does not answer in time is a DeadlineError that names it."""

    def infer(_number: int, context: grpc.ServicerContext) -> Any:
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(60)
        return ANSWER

    with (
        recorded(infer) as seen,
        connect(seen.address) as client,
        pytest.raises(DeadlineError, match=f"no answer from {seen.address} to ModelInfer in time"),
    ):
        client.infer("m", [{"age": 3}], timeout=0.5)


@both
def test_an_overloaded_server_says_when_to_come_back(connect: Connect) -> None:
    """The error has the retry time of the server, and the call is not retried."""

    def infer(_number: int, context: grpc.ServicerContext) -> Any:
        code, message, trailers = status_of(errors.OverloadedError("it would wait about 250 ms", retry_ms=250))
        context.set_trailing_metadata(tuple(trailers))
        context.abort(code, message)

    with (
        recorded(infer) as seen,
        connect(seen.address) as client,
        pytest.raises(OverloadedError, match="it would wait about 250 ms") as caught,
    ):
        client.infer("m", [{"age": 3}])
    assert caught.value.retry_after_s == 0.25
    assert len(seen.of("ModelInfer")) == 1


def test_a_cancelled_call_is_cancelled_on_the_server() -> None:
    """Cancelling a task cancels its call on the server, and the client stays usable."""
    arrived, ended = asyncio.Event(), threading.Event()

    async def run() -> int:
        loop = asyncio.get_running_loop()

        def infer(number: int, context: grpc.ServicerContext) -> Any:
            if not number:
                context.add_callback(ended.set)
                loop.call_soon_threadsafe(arrived.set)
                ended.wait(60)
            return ANSWER

        with recorded(infer) as seen:
            async with onnxpress.AsyncClient(seen.address) as client:
                task = asyncio.create_task(client.infer("m", [{"age": 3}]))
                await arrived.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await asyncio.to_thread(ended.wait, 60)
                return (await client.infer("m", [{"age": 3}])).version

    assert asyncio.run(run()) == 1


def test_errors_have_one_root() -> None:
    """Every exception of the client is a ClientError; RowsError is also a ValueError."""
    assert issubclass(CallError, ClientError)
    assert issubclass(RowsError, (ClientError, ValueError))
