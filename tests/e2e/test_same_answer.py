"""P1: a served answer is the compiled model's answer, whatever shares its batch."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.answers import churn_rows, number_rows
from tests.inference_calls import DEADLINE_S, connected, decode, request, same
from tests.model_repository import Models
from tests.server_process import ServerProcess

SIZES = (1, 2, 7, 50, 51, 128, 1_000)


@pytest.mark.parametrize("count", [*SIZES, 10_000])
def test_numbers_alone(server: ServerProcess, models: Models, count: int) -> None:
    """Rows of numbers come back bit for bit as ONNX Runtime answers them, split or not."""
    feeds = {"input": number_rows(count)}
    with connected(server.grpc) as stub:
        answer = stub.ModelInfer(request(feeds, version="1"), timeout=DEADLINE_S)
    assert same(decode(answer), models.answers("numbers/1")(feeds))


@pytest.mark.parametrize("count", SIZES)
def test_text_alone(server: ServerProcess, models: Models, count: int) -> None:
    """Rows of text and numbers in several inputs come back bit for bit as ONNX Runtime answers them."""
    feeds = churn_rows(count)
    with connected(server.grpc) as stub:
        answer = stub.ModelInfer(request(feeds, "churn"), timeout=DEADLINE_S)
    assert same(decode(answer), models.answers("churn/1")(feeds))


def test_a_row_in_a_batch_answers_as_alone(models: Models) -> None:
    """ONNX Runtime with one thread is batch-invariant on these models; without that P1 could not hold."""
    rows = number_rows(128)
    together = models.answers("heavy/1")({"input": rows})
    alone = [models.answers("heavy/1")({"input": row[None]}) for row in rows]
    assert same(together, {name: np.concatenate([one[name] for one in alone]) for name in together})


@pytest.mark.parametrize(("model", "version"), [("numbers", "1"), ("numbers", "2"), ("bare", "1"), ("heavy", "1")])
def test_mixed_into_batches(server: ServerProcess, models: Models, model: str, version: str) -> None:
    """Requests of every size at once, with one large enough to be split, each get their own rows back."""
    sizes = [*SIZES, *SIZES, 10_000 if model != "heavy" else 3_000, *([1] * 40)]
    feeds = [{"input": number_rows(count, seed)} for seed, count in enumerate(sizes)]
    expected = [models.answers(f"{model}/{version}")(feed) for feed in feeds]
    with connected(server.grpc) as one, connected(server.grpc) as other, ThreadPoolExecutor(16) as pool:

        def ask(place: int) -> bool:
            stub = (one, other)[place % 2]
            answer = stub.ModelInfer(request(feeds[place], model, version), timeout=DEADLINE_S)
            return answer.model_version == version and same(decode(answer), expected[place])

        wrong = [sizes[place] for place, right in enumerate(pool.map(ask, range(len(sizes)))) if not right]
    assert wrong == []


def test_text_mixed_into_batches(server: ServerProcess, models: Models) -> None:
    """Rows of text of many callers at once each come back to their own caller."""
    sizes = [*SIZES, *([1] * 30)]
    feeds = [churn_rows(count, seed) for seed, count in enumerate(sizes)]
    expected = [models.answers("churn/1")(feed) for feed in feeds]
    with connected(server.grpc) as stub, ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda feed: stub.ModelInfer(request(feed, "churn"), timeout=DEADLINE_S), feeds)
        assert [same(decode(answer), wanted) for answer, wanted in zip(answers, expected, strict=True)].count(
            False
        ) == 0
