"""What a tritonclient must get, checked in a process of its own: it and our stubs cannot share a descriptor pool.

`python -m tests.conformance.triton_checks ADDRESS PACKAGES` runs every check and prints JSON: name -> "" or traceback.
Nothing of tritonclient is imported before `main`, so that the names can be listed from a process with our stubs.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from tests.answers import churn_rows, encode_strings, number_rows
from tests.conformance.error_table import ROWS, Row, right
from tests.conformance.triton_bench import WAIT_S, Bench


def live_and_ready(bench: Bench) -> None:
    """A tritonclient sees the server live, ready, and which models and versions are."""
    client = bench.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("numbers")
    assert client.is_model_ready("numbers", "1")
    assert not client.is_model_ready("numbers", "99")
    assert not client.is_model_ready("nosuch")
    assert not client.is_model_ready("broken")


def server_metadata(bench: Bench) -> None:
    """The server names itself, its version and only extensions that it has."""
    told = bench.client.get_server_metadata()
    assert told.name == "onnxpress"
    assert told.version
    assert set(told.extensions) == {"model_configuration", "statistics"}


def model_metadata(bench: Bench) -> None:
    """Metadata names inputs and outputs with datatype and shape, rows as -1, and the loaded versions."""
    told = bench.client.get_model_metadata("numbers", as_json=True)
    assert told["versions"] == ["1", "2"]
    assert told["inputs"] == [{"name": "input", "datatype": "FP32", "shape": ["-1", "30"]}]
    assert told["outputs"] == [
        {"name": "label", "datatype": "INT64", "shape": ["-1"]},
        {"name": "probabilities", "datatype": "FP32", "shape": ["-1", "2"]},
    ]
    churn = bench.client.get_model_metadata("churn", "1")
    assert [(i.name, i.datatype, list(i.shape)) for i in churn.inputs] == [
        ("contract", "BYTES", [-1, 1]), ("city", "BYTES", [-1, 1]),
        ("charges", "FP64", [-1, 1]), ("tenure", "INT64", [-1, 1]),
    ]  # fmt: skip


def model_config(bench: Bench) -> None:
    """The configuration states a batch limit, dynamic batching without delay, and dims without the rows."""
    config = bench.client.get_model_config("churn").config
    assert config.name == "churn"
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    assert config.dynamic_batching.max_queue_delay_microseconds == 0
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("contract", 13, [1]), ("city", 13, [1]), ("charges", 12, [1]), ("tenure", 9, [1]),
    ]  # fmt: skip


def unknown_models_in_metadata_config_statistics(bench: Bench) -> None:
    """Metadata, configuration and statistics: what does not exist is NOT_FOUND, what is no version INVALID_ARGUMENT."""
    client = bench.client
    for ask in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        for arguments, code, word in (
            (("nosuch",), "NOT_FOUND", "numbers"),
            (("numbers", "99"), "NOT_FOUND", "1, 2"),
            (("numbers", "abc"), "INVALID_ARGUMENT", "positive integer"),
            (("numbers", "01"), "INVALID_ARGUMENT", "'01'"),
        ):
            with pytest.raises(bench.error) as caught:
                ask(*arguments)
            assert caught.value.status() == f"StatusCode.{code}", caught.value
            assert word in caught.value.message(), caught.value


def statistics(bench: Bench) -> None:
    """Statistics count rows, runs and requests of each version, by exactly what was asked."""

    def counts() -> tuple[int, int, int]:
        (of,) = bench.client.get_inference_statistics("price", "1").model_stats
        return of.inference_count, of.execution_count, of.inference_stats.success.count

    before = counts()
    rows = np.ones((7, 4), np.float32)
    for _ in range(3):
        bench.client.infer("price", bench.inputs({"input": rows}))
    after = counts()
    assert [b - a for a, b in zip(before, after, strict=True)] == [21, 3, 3]
    (of,) = bench.client.get_inference_statistics("price", "1").model_stats
    assert sum(batch.compute_infer.count for batch in of.batch_stats) == of.execution_count
    assert of.inference_stats.compute_infer.ns > 0
    assert of.inference_stats.success.ns >= of.inference_stats.queue.ns
    assert {(s.name, s.version) for s in bench.client.get_inference_statistics().model_stats} >= {
        ("price", "1"),
        ("numbers", "1"),
        ("numbers", "2"),
    }


def infer_raw(bench: Bench) -> None:
    """Raw numbers in, every output back bit for bit, with the name and the version that answered."""
    feeds = {"input": number_rows(7)}
    result = bench.client.infer("numbers", bench.inputs(feeds))
    bench.agree(result, bench.numbers(feeds))
    response = result.get_response()
    assert (response.model_name, response.model_version) == ("numbers", "2")


def infer_strings_and_several_inputs(bench: Bench) -> None:
    """Several inputs, text among them with umlauts and empty strings, in any order."""
    feeds = churn_rows(9)
    bench.agree(bench.client.infer("churn", bench.inputs(feeds)), bench.churn(feeds))
    turned = dict(reversed(feeds.items()))
    bench.agree(bench.client.infer("churn", bench.inputs(turned)), bench.churn(feeds))


def infer_typed_contents(bench: Bench) -> None:
    """Typed contents are answered as raw ones are."""
    rows = number_rows(3)
    request = bench.pb.ModelInferRequest(model_name="numbers")
    request.inputs.add(name="input", datatype="FP32", shape=rows.shape).contents.fp32_contents.extend(
        rows.ravel().tolist()
    )
    answer = bench.stub.ModelInfer(request)
    expected = bench.numbers({"input": rows})
    assert list(answer.raw_output_contents) == [expected[output.name].tobytes() for output in answer.outputs]
    typed = bench.stub.ModelInfer(right(bench.pb, "churn typed"))
    assert typed == bench.stub.ModelInfer(right(bench.pb, "churn raw"))
    feeds = {
        "contract": np.array([["monthly"], ["yearly"]], object), "city": np.array([["Köln"], [""]], object),
        "charges": np.array([[5.5], [80.25]]), "tenure": np.array([[1], [2]]),
    }  # fmt: skip
    wanted = bench.churn(feeds)
    assert typed.raw_output_contents[0] == encode_strings(wanted["label"])
    assert typed.raw_output_contents[1] == wanted["probabilities"].tobytes()


def infer_chosen_outputs(bench: Bench) -> None:
    """Only the outputs that were asked for come back, in the order asked."""
    feeds = {"input": number_rows(4)}
    expected = bench.numbers(feeds)
    for chosen in (["probabilities"], ["label"], ["probabilities", "label"]):
        outputs = [bench.sync.InferRequestedOutput(name) for name in chosen]
        result = bench.client.infer("numbers", bench.inputs(feeds), outputs=outputs)
        assert [output.name for output in result.get_response().outputs] == chosen
        bench.agree(result, {name: expected[name] for name in chosen})


def infer_versions_and_ids(bench: Bench) -> None:
    """A named version answers itself; an id comes back as it was sent."""
    for version in ("1", "2"):
        for id_ in ("", "a", "Anfrage-äöü-" + "x" * 300):
            response = bench.client.infer(
                "numbers", bench.inputs({"input": number_rows(1)}), model_version=version, request_id=id_
            ).get_response()
            assert (response.model_version, response.id) == (version, id_)


def infer_with_parameters_and_options(bench: Bench) -> None:
    """Parameters, priorities, timeouts and headers that a tritonclient may send do no harm."""
    feeds = {"input": number_rows(2)}
    result = bench.client.infer(
        "numbers", bench.inputs(feeds), parameters={"route_key": "customer 7", "retries": 2, "dry": True},
        headers={"x-trace": "1"}, client_timeout=WAIT_S, priority=1, timeout=1_000_000,
    )  # fmt: skip
    bench.agree(result, bench.numbers(feeds))


def infer_compressed(bench: Bench) -> None:
    """A client may compress what it sends with gzip; deflate is UNIMPLEMENTED, whatever the method."""
    feeds = {"input": number_rows(200)}
    bench.agree(bench.client.infer("numbers", bench.inputs(feeds), compression_algorithm="gzip"), bench.numbers(feeds))
    with pytest.raises(bench.error, match="deflate") as caught:
        bench.client.infer("numbers", bench.inputs(feeds), compression_algorithm="deflate")
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    # Not ModelInfer: the native front forwards it. The message must be one that is worth compressing.
    question = bench.pb.ModelMetadataRequest(name="nosuch" * 200)
    for algorithm, code in (
        (bench.grpc.Compression.Gzip, "NOT_FOUND"),
        (bench.grpc.Compression.Deflate, "UNIMPLEMENTED"),
    ):
        with pytest.raises(bench.grpc.RpcError) as refused:
            bench.stub.ModelMetadata(question, compression=algorithm)
        assert refused.value.code().name == code


def infer_async(bench: Bench) -> None:
    """Callbacks of many calls at once each get their own answer."""
    answers: SimpleQueue[tuple[int, Any, Any]] = SimpleQueue()
    feeds = [{"input": number_rows(1 + n % 5, n)} for n in range(50)]
    for n, feed in enumerate(feeds):
        bench.client.async_infer(
            "numbers", bench.inputs(feed), lambda result, error, n=n: answers.put((n, result, error))
        )
    for _ in feeds:
        n, result, error = answers.get(timeout=WAIT_S)
        assert error is None, error
        bench.agree(result, bench.numbers(feeds[n]))


def stream(bench: Bench) -> None:
    """A stream keeps the order of its requests, tells an error in its place and goes on."""
    answers: SimpleQueue[tuple[Any, Any]] = SimpleQueue()
    with bench.sync.InferenceServerClient(bench.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        feeds = [{"input": number_rows(1 + n % 300, n)} for n in range(40)]
        for n, feed in enumerate(feeds):
            model = "nosuch" if n % 7 == 3 else "numbers"
            client.async_stream_infer(model, bench.inputs(feed), request_id=str(n), enable_empty_final_response=False)
        for n, feed in enumerate(feeds):
            result, error = answers.get(timeout=WAIT_S)
            if n % 7 == 3:
                assert "nosuch" in error.message(), (n, error)
            else:
                assert error is None, (n, error)
                assert result.get_response().id == str(n)
                bench.agree(result, bench.numbers(feed))
        client.stop_stream()


def aio_client(bench: Bench) -> None:
    """The asyncio client gets through everything too, many calls at once."""

    async def run() -> None:
        async with bench.aio.InferenceServerClient(bench.address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("churn")
            assert (await client.get_server_metadata()).name == "onnxpress"
            assert (await client.get_model_metadata("numbers")).versions == ["1", "2"]
            assert (await client.get_model_config("numbers")).config.max_batch_size > 1
            assert (await client.get_inference_statistics("numbers")).model_stats
            feeds = [{"input": number_rows(1 + n, n)} for n in range(20)]
            results = await asyncio.gather(
                *(client.infer("numbers", bench.inputs(feed), request_id=str(n)) for n, feed in enumerate(feeds))
            )
            for n, (result, feed) in enumerate(zip(results, feeds, strict=True)):
                assert result.get_response().id == str(n)
                bench.agree(result, bench.numbers(feed))
            text = churn_rows(3)
            bench.agree(await client.infer("churn", bench.inputs(text)), bench.churn(text))
            with pytest.raises(bench.error, match="99") as caught:
                await client.infer("numbers", bench.inputs({"input": number_rows(1)}), model_version="99")
            assert caught.value.status() == "StatusCode.NOT_FOUND"

    asyncio.run(run())


def aio_stream(bench: Bench) -> None:
    """The asyncio client's stream: order kept, errors in place."""

    async def run() -> None:
        feeds = [{"input": number_rows(1 + n, n)} for n in range(12)]

        async def requests() -> Any:
            for n, feed in enumerate(feeds):
                version = "99" if n == 5 else ""
                yield {
                    "model_name": "numbers",
                    "inputs": bench.inputs(feed),
                    "model_version": version,
                    "request_id": str(n),
                }

        async with bench.aio.InferenceServerClient(bench.address) as client:
            n = 0
            async for result, error in client.stream_infer(requests(), stream_timeout=WAIT_S):
                if n == 5:
                    assert "99" in error.message(), error
                else:
                    assert error is None, error
                    assert result.get_response().id == str(n)
                    bench.agree(result, bench.numbers(feeds[n]))
                n += 1
            assert n == len(feeds)

    asyncio.run(run())


def broken_protobuf(bench: Bench) -> None:
    """Bytes that are no request are INVALID_ARGUMENT, never INTERNAL."""
    call = bench.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    whole = right(bench.pb, "numbers").SerializeToString()
    for payload in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", whole[:-3], b"\x0b" * 50, b"\x0a\x02\xff\xfe"):
        code, message = bench.refusal(call, payload)
        assert code == "INVALID_ARGUMENT", (payload[:8], message)
        assert f"{len(payload)} bytes" in message


def empty_request(bench: Bench) -> None:
    """No bytes at all are a request for the model with no name."""
    assert bench.refusal(bench.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer"), b"")[0] == "NOT_FOUND"


def too_large(bench: Bench) -> None:
    """A request beyond the message limit is RESOURCE_EXHAUSTED; one just below it is read."""
    for extra, code in ((0, "INVALID_ARGUMENT"), (2**20, "RESOURCE_EXHAUSTED")):
        request = right(bench.pb, "numbers")
        request.raw_input_contents[0] = bytes(2**24 - 1024 + extra)
        assert bench.refusal(bench.stub.ModelInfer, request)[0] == code, extra


def unimplemented(bench: Bench) -> None:
    """Parts of the protocol that this server does not do are UNIMPLEMENTED, on the data port the repository too."""
    pb, stub = bench.pb, bench.stub
    calls = [
        (stub.TraceSetting, pb.TraceSettingRequest()),
        (stub.LogSettings, pb.LogSettingsRequest()),
        (stub.RepositoryIndex, pb.RepositoryIndexRequest()),
        (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="numbers")),
        (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="numbers")),
        (stub.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest()),
        (bench.channel.unary_unary("/no.Such/Method"), b""),
        (bench.channel.unary_unary("/onnxpress.v1.Admin/ListModels"), b""),
    ]
    for call, request in calls:
        assert bench.refusal(call, request)[0] == "UNIMPLEMENTED", type(request)


CHECKS: dict[str, Callable[[Bench], None]] = {
    check.__name__: check
    for check in (
        live_and_ready, server_metadata, model_metadata, model_config, unknown_models_in_metadata_config_statistics,
        statistics, infer_raw, infer_strings_and_several_inputs, infer_typed_contents, infer_chosen_outputs,
        infer_versions_and_ids, infer_with_parameters_and_options, infer_compressed, infer_async, stream, aio_client,
        aio_stream, broken_protobuf, empty_request, too_large, unimplemented,
    )
}  # fmt: skip


def refused(bench: Bench, row: Row, *, streamed: bool) -> None:
    """One row of the error table, as a call of its own or inside a stream."""
    request = right(bench.pb, row.base)
    row.change(request)
    if streamed:
        (answer,) = bench.stub.ModelStreamInfer(iter([request]), timeout=WAIT_S)
        message = answer.error_message
    else:
        code, message = bench.refusal(bench.stub.ModelInfer, request)
        assert code == row.code, message
    absent = [word for word in row.words if word not in message]
    assert not absent, f"{message!r} does not name {absent}"
    assert "/" not in message.replace("../numbers", ""), f"{message!r} leaks a path"


def main() -> None:
    bench = Bench(sys.argv[1], Path(sys.argv[2]))
    checks = dict(CHECKS)
    for row in ROWS:
        checks[f"error: {row.name}"] = lambda bench, row=row: refused(bench, row, streamed=False)
        checks[f"streamed error: {row.name}"] = lambda bench, row=row: refused(bench, row, streamed=True)
    report = {}
    for name, check in checks.items():
        try:
            check(bench)
            report[name] = ""
        except Exception:  # noqa: BLE001 -- one check that fails must not hide the others
            report[name] = traceback.format_exc()
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
