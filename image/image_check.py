"""`make image-check`: builds the image from the Dockerfile, runs it, and checks it.

It needs no Docker engine and no image registry: it runs buildah on a stand-in for the base image (stand_in.py).
Therefore it does not check the official base image, how an engine calls the health check, limits of cgroups and
seccomp, published ports (the host network is used), or other processors.
"""

import fcntl
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dockerfile_parse import DockerfileParser

from image import contents
from image.engine import Engine, EngineError, Mount, call, install_programs, read_only_command
from image.running import Running, free_ports
from image.sample_package import make_package, same_answers
from image.stand_in import make_base, pip_mounts

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "image"
IMAGE = "onnxpress:check"
MODEL = "churn"
USER = 10001
MIB = 1024 * 1024


def main() -> int:
    started = time.monotonic()
    try:
        install_programs()
        WORK.mkdir(parents=True, exist_ok=True)
        with (WORK / "lock").open("w") as lock, tempfile.TemporaryDirectory(prefix="onnxpress-image-") as folder:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _check(Path(folder))
    except (EngineError, AssertionError) as error:
        print(f"image-check: {error}", file=sys.stderr)
        return 1
    print(f"image-check: passed, {time.monotonic() - started:.0f} s")
    return 0


def _check(folder: Path) -> None:
    engine = Engine(WORK / "storage")
    for base in DockerfileParser(fileobj=(ROOT / "Dockerfile").open("rb")).parent_images:
        made = _timed(partial(make_base, engine, WORK, base))
        _say("base", f"{base}: a stand-in, made in {made:.0f} s")
    took = _timed(lambda: engine.build(IMAGE, ROOT, ROOT / "Dockerfile", pip_mounts(WORK), WORK / "build.log"))
    configuration = engine.configuration(IMAGE)
    contents.check_configuration(configuration)
    container = engine.start_from(IMAGE)
    try:
        root = engine.root_of(container)
        whole, added = _size(root), _size(root / "opt")
        _say("image", f"{whole:.0f} MiB, of which {added:.0f} MiB are ours; built in {took:.0f} s")
        _say(
            "config", f"user {configuration['User']}, entrypoint {configuration['Entrypoint']}, {configuration['Cmd']}"
        )
        _say("contents", contents.check_contents(engine, container, root, USER))
        _writable_run(engine, container, configuration, folder)
        _read_only_run(root, configuration, folder)
    finally:
        engine.remove(container)


def _writable_run(engine: Engine, container: str, configuration: dict[str, Any], folder: Path) -> None:
    """The image's own command with a writable /models, and a deploy from inside the container."""
    ports = free_ports()
    models = folder / "models"
    make_package(models, MODEL, 1)
    _give(models)
    mounts: list[Mount] = [(models, "/models", "rw")]

    def inside(command: list[str]) -> list[str]:
        return engine.run_command(container, command, mounts, ports.environment())

    with Running(inside([*configuration["Entrypoint"], *configuration["Cmd"]]), ports, WORK / "run.log") as server:
        took = server.wait_ready()
        call(inside(configuration["Healthcheck"]["Test"][1:]))
        rows = same_answers(ports.grpc, models / MODEL / "1", MODEL, "1")
        make_package(models, MODEL, 2)
        _give(models)
        deploy = ["onnxpress", "deploy", MODEL, "2", "--reason", "checked", "--server", f"127.0.0.1:{ports.admin}"]
        said = call(inside(deploy)).strip()
        rows += same_answers(ports.grpc, models / MODEL / "2", MODEL, "2")
        assert server.user() == USER, f"the server runs as user {server.user()}, not as the image's {USER}"
        stopped = server.stop()
    assert (models / MODEL / "deployment.json").is_file(), "the deploy left no deployment.json in /models"
    assert (models / ".onnxpress" / "audit" / "audit.jsonl").is_file(), "the deploy left no audit log in /models"
    _say("run", f"ready in {took:.1f} s, healthy, {rows} rows bit for bit, {said}, SIGTERM: exit 0 in {stopped:.1f} s")


def _read_only_run(root: Path, configuration: dict[str, Any], folder: Path) -> None:
    """As in production: only the state folder is writable, and a deploy is refused in one line."""
    ports = free_ports()
    state = folder / "state"
    state.mkdir()
    _give(state)
    models = folder / "models"
    mounts: list[Mount] = [(models, "/models", "ro"), (state, "/state", "rw")]
    environment = dict(variable.split("=", 1) for variable in configuration["Env"]) | ports.environment()

    def inside(command: list[str]) -> list[str]:
        return read_only_command(root, configuration["User"], command, mounts, environment)

    call(inside(["python", "-c", contents.NOTHING_WRITABLE]))
    command = [*configuration["Entrypoint"], "serve", "--repository", "/models", "--state-dir", "/state"]
    with Running(inside(command), ports, WORK / "read-only-run.log") as server:
        took = server.wait_ready()
        call(inside(configuration["Healthcheck"]["Test"][1:]))
        rows = same_answers(ports.grpc, models / MODEL / "2", MODEL, "2")
        try:
            call(inside(["onnxpress", "deploy", MODEL, "1", "--server", f"127.0.0.1:{ports.admin}"]))
        except EngineError as refusal:
            said = str(refusal).splitlines()[-1]
        else:
            raise AssertionError("a deploy into a read-only repository was accepted")
        rows += same_answers(ports.grpc, models / MODEL / "2", MODEL, "2")
        stopped = server.stop()
    assert "cannot be written: Read-only file system" in said, f"not a clear refusal: {said}"
    _say("read-only", f"ready in {took:.1f} s, healthy, {rows} rows bit for bit, SIGTERM: exit 0 in {stopped:.1f} s")
    _say("", f"a deploy is refused: {said}")


def _give(folder: Path) -> None:
    """Makes the image's user the owner of the folder and its content, which `docker run -v` needs."""
    folder.parent.chmod(0o755)
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, USER, USER)


def _size(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / MIB


def _timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _say(what: str, line: str) -> None:
    print(f"{what:<10} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
