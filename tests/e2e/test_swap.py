"""P4: deploys and rollbacks under load lose no request, answer right, and are a barrier for what is sent afterwards."""

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest

from onnxpress.protos import admin_pb2
from onnxpress.protos.inference_pb2 import ModelInferRequest
from tests.answers import Arrays, number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, administered, connected, decode, request, same
from tests.model_repository import Models
from tests.server_process import ServerProcess

CONNECTIONS = 8
# Versions 1 and 2 swap while both are warm; 3 makes the server load and unload under load.
ORDER = (1, 2) * 4 + (3,) + (1, 2) * 5 + (1,)
# Every connection must have been answered this often between two deploys: it is busy while they happen.
BUSY = 5


@dataclass(frozen=True)
class Question:
    message: ModelInferRequest
    answers: dict[str, Arrays]  # by version


class Traffic:
    """Closed loops on connections of their own; `history` are the versions deployed, in order.

    An answer may come from any deploy that had not been replaced when the request was sent and had been started when
    the answer arrived; nothing else keeps the barrier.
    """

    def __init__(self, address: str, questions: list[Question], first: int) -> None:
        self._address = address
        self._questions = questions
        self._changed = threading.Condition()
        self._history = [first]
        self._finished = 0  # index in the history of the newest deploy that has returned
        self._counts = [0] * CONNECTIONS
        self._stop = False
        self.wrong: list[str] = []
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._loops = [self._pool.submit(self._loop, place) for place in range(CONNECTIONS)]

    def _loop(self, place: int) -> int:
        index = 0  # of the deploy that answered last on this connection
        with connected(self._address) as stub:
            number = place
            while not self._stop:
                question = self._questions[number % len(self._questions)]
                number += 1
                with self._changed:
                    finished = self._finished
                try:
                    answer = stub.ModelInfer(question.message, timeout=DEADLINE_S)
                except grpc.RpcError as error:
                    self._tell(place, f"{error.code()}: {error.details()}")
                    continue
                with self._changed:
                    allowed = self._history[max(finished, index) :]
                version = answer.model_version
                if int(version) not in allowed:
                    self._tell(place, f"version {version} answered, allowed were {allowed}")
                else:
                    index = max(finished, index) + allowed.index(int(version))
                    if not same(decode(answer), question.answers[version]):
                        self._tell(place, f"a wrong answer in the name of version {version}")
                self._tell(place)
        return number - place

    def _tell(self, place: int, wrong: str = "") -> None:
        with self._changed:
            self._counts[place] += 1
            if wrong:
                self.wrong.append(wrong)
            self._changed.notify_all()

    def deploy(self, version: int, call: Callable[[], admin_pb2.DeployResponse]) -> admin_pb2.DeployResponse:
        """Makes the deploy once every connection is seen to be busy."""
        with self._changed:
            goal = [count + BUSY for count in self._counts]
            busy = self._changed.wait_for(
                lambda: all(count >= wanted for count, wanted in zip(self._counts, goal, strict=True)), DEADLINE_S
            )
            assert busy, f"the connections are stuck at {self._counts}: {self.wrong[:3]}"
            self._history.append(version)
        done = call()
        with self._changed:
            self._finished = len(self._history) - 1
        return done

    def stop(self) -> int:
        """How many requests were made."""
        self._stop = True
        total = sum(loop.result(DEADLINE_S) for loop in self._loops)
        self._pool.shutdown()
        return total


@pytest.fixture(scope="module")
def questions(models: Models) -> list[Question]:
    feeds = [{"input": number_rows(count, seed)} for seed, count in enumerate((1, 1, 2, 3, 1, 7, 50, 1, 120, 1, 33))]
    versions = [str(version) for version in sorted(set(ORDER))]
    offline = {version: models.answers(f"numbers/{version}") for version in versions}
    return [Question(request(feed), {version: offline[version](feed) for version in versions}) for feed in feeds]


def test_versions_differ(questions: list[Question]) -> None:
    """The three versions answer these rows differently, so that an answer tells who gave it."""
    for question in questions:
        one, two, three = (question.answers[version] for version in ("1", "2", "3"))
        assert not same(one, two)
        assert not same(two, three)
        assert not same(one, three)


@pytest.mark.parametrize("front", FRONTS)
def test_deploys_under_load(start: Callable[..., ServerProcess], questions: list[Question], front: str) -> None:
    """20 deploys under 8 busy connections: no failure, no old answer after Deploy returned, every answer right."""
    server = start("numbers", front=front)
    with administered(server.admin) as admin:
        traffic = Traffic(server.grpc, questions, first=3)
        epochs = []
        for version in ORDER:
            asked = admin_pb2.DeployRequest(model="numbers", version=version)
            done = traffic.deploy(version, lambda asked=asked: admin.Deploy(asked, timeout=DEADLINE_S))
            assert (done.version, done.changed) == (version, True)
            epochs.append(done.epoch)
        requests = traffic.stop()
    assert traffic.wrong == []
    assert epochs == list(range(1, len(ORDER) + 1))
    assert requests >= CONNECTIONS * BUSY * len(ORDER)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_swaps_cost_nothing(start: Callable[..., ServerProcess], questions: list[Question]) -> None:
    """S7: after 200 swaps under load memory is within 5 % of that after twenty, with no descriptor or thread more."""
    server = start("numbers")
    with administered(server.admin) as admin:
        traffic = Traffic(server.grpc, questions, first=3)
        footprints = []
        for version in ORDER * 10:
            asked = admin_pb2.DeployRequest(model="numbers", version=version)
            traffic.deploy(version, lambda asked=asked: admin.Deploy(asked, timeout=DEADLINE_S))
            footprints.append(server.footprint())
        traffic.stop()
    assert traffic.wrong == []
    early, late = footprints[len(ORDER) - 1], footprints[-1]
    assert len(footprints) >= 200
    assert late.rss <= 1.05 * early.rss, (early, late)
    # A preflight may be open at the moment of looking: the least of each round is what the server holds at rest.
    rounds = [footprints[at : at + len(ORDER)] for at in (0, len(footprints) - len(ORDER))]
    first, last = ((min(f.descriptors for f in seen), min(f.threads for f in seen)) for seen in rounds)
    assert last <= first


def test_rollback_under_load(start: Callable[..., ServerProcess], questions: list[Question]) -> None:
    """A rollback is the same barrier, and loads nothing: the former version is still warm."""
    server = start("numbers")
    with administered(server.admin) as admin:
        forward = admin_pb2.DeployRequest(model="numbers", version=2)
        back = admin_pb2.RollbackRequest(model="numbers", reason="as before")
        traffic = Traffic(server.grpc, questions, first=3)
        for _ in range(3):
            traffic.deploy(2, lambda: admin.Deploy(forward, timeout=DEADLINE_S))
            loads = server.log.count(" is ready, batches of")
            done = traffic.deploy(3, lambda: admin.Rollback(back, timeout=DEADLINE_S))
            assert (done.version, done.changed, done.previous_version) == (3, True, 2)
            assert server.log.count(" is ready, batches of") == loads
        traffic.stop()
    assert traffic.wrong == []


def test_rollbacks_walk_back(start: Callable[..., ServerProcess]) -> None:
    """Each rollback goes further back, never to what was rolled back from; a restart keeps the way."""
    server = start("numbers")
    back = admin_pb2.RollbackRequest(model="numbers")
    with administered(server.admin) as admin:
        for version in (1, 2):
            admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=version), timeout=DEADLINE_S)
        dry = admin.Rollback(admin_pb2.RollbackRequest(model="numbers", dry_run=True), timeout=DEADLINE_S)
        assert (dry.version, dry.previous_version, dry.epoch, dry.changed) == (1, 2, 2, False)
        assert admin.Rollback(back, timeout=DEADLINE_S).version == 1
    server.kill()
    with ServerProcess(server.repository).ready() as again, administered(again.admin) as admin:
        assert admin.Rollback(back, timeout=DEADLINE_S).version == 3  # what was live before the first deploy
        with pytest.raises(grpc.RpcError, match="no earlier version to go back to"):
            admin.Rollback(back, timeout=DEADLINE_S)
        assert admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=2), timeout=DEADLINE_S).version == 2


@pytest.mark.parametrize("damage", ["missing", "incomplete", "changed"])
def test_no_rollback_to_what_a_restart_could_not_serve(start: Callable[..., ServerProcess], damage: str) -> None:
    """A version that is warm, but not on disk as it was loaded, does not go live; nothing changes, status says why."""
    server = start("numbers")
    with administered(server.admin) as admin:
        admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=2), timeout=DEADLINE_S)
        folder = server.repository / "numbers/3"
        if damage == "missing":
            shutil.rmtree(folder)
        elif damage == "incomplete":
            (folder / "golden.npz").unlink()
        else:
            shutil.copy(server.repository / "numbers/1/model.onnx", folder / "model.onnx")
        with pytest.raises(grpc.RpcError) as refused:
            admin.Rollback(admin_pb2.RollbackRequest(model="numbers"), timeout=DEADLINE_S)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        status = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), timeout=DEADLINE_S)
        newest = admin.GetHistory(admin_pb2.GetHistoryRequest(model="numbers"), timeout=DEADLINE_S).records[-1]
    assert (status.live_version, status.epoch) == (2, 1)
    assert newest.result == f"refused: {refused.value.details()}"
    (kept,) = (version for version in status.versions if version.version == 3)
    assert kept.reason == ("package missing" if damage == "missing" else "")


def test_deploying_what_is_live_changes_nothing(start: Callable[..., ServerProcess]) -> None:
    """Deploying the live version succeeds, keeps the epoch and says that nothing changed."""
    server = start("numbers")
    with administered(server.admin) as admin:
        first = admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=1), timeout=DEADLINE_S)
        again = admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=1), timeout=DEADLINE_S)
    assert (first.epoch, first.changed, first.previous_version) == (1, True, 3)
    assert (again.epoch, again.changed, again.version) == (1, False, 1)


def test_two_deploys_at_once(start: Callable[..., ServerProcess]) -> None:
    """Of two deploys that expect the same epoch one wins; the other is ABORTED and told the current epoch."""
    server = start("numbers")
    with administered(server.admin) as admin:
        calls = [
            admin.Deploy.future(
                admin_pb2.DeployRequest(model="numbers", version=version, expected_epoch=0), timeout=DEADLINE_S
            )
            for version in (1, 2)
        ]
        failures = [call.exception(DEADLINE_S) for call in calls]
        status = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="numbers"), timeout=DEADLINE_S)
    lost = [failure for failure in failures if failure is not None]
    assert len(lost) == 1
    assert lost[0].code() is grpc.StatusCode.ABORTED
    assert "epoch 1" in lost[0].details()
    assert "expected 0" in lost[0].details()
    assert status.epoch == 1
    assert status.live_version == (2 if failures[0] else 1)


def test_rollback_of_what_has_no_past(start: Callable[..., ServerProcess]) -> None:
    """A rollback where nothing was live before is refused with that reason."""
    server = start("bare")
    with (
        administered(server.admin) as admin,
        pytest.raises(grpc.RpcError, match="no earlier version") as caught,
    ):
        admin.Rollback(admin_pb2.RollbackRequest(model="bare"), timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_new_versions_are_found_and_wait(start: Callable[..., ServerProcess], models: Models) -> None:
    """A version, and a model, that appear on disk while the server runs are deployed without a restart, not before."""
    server = start("numbers/1")
    with administered(server.admin) as admin, connected(server.grpc) as stub:
        models.copy(server.repository, "numbers/2", "bare")
        asked = request({"input": number_rows(1)})
        assert stub.ModelInfer(asked, timeout=DEADLINE_S).model_version == "1"
        admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=2), timeout=DEADLINE_S)
        assert stub.ModelInfer(asked, timeout=DEADLINE_S).model_version == "2"
        admin.Deploy(admin_pb2.DeployRequest(model="bare", version=1), timeout=DEADLINE_S)
        assert stub.ModelInfer(request({"input": number_rows(1)}, "bare"), timeout=DEADLINE_S).model_version == "1"
