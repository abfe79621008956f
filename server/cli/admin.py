"""`onnxpress deploy`, `rollback`, `status` and `history`: what the engineer on call types."""

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxpress.packages.names import parse_version
from onnxpress.protos import admin_pb2 as pb
from onnxpress.server.cli.admin_client import AdminCallError, AdminClient

USAGE, REFUSED = 2, 3
DIGEST_SHOWN = 12
COMMANDS = {
    "deploy": "Make a version live; returns once every new request is answered by it.",
    "rollback": "Go back to the version that was live before and was not itself rolled back from.",
    "status": "What is live, and the state of every version.",
    "history": "Who changed what, when and why, from the audit log.",
}


def main(argv: Sequence[str]) -> int:
    command = argv[0]
    arguments = _parser(command).parse_args(argv[1:])
    try:
        token = arguments.token_file.read_text().strip() if arguments.token_file else ""
    except OSError as error:
        return _fail(command, f"cannot read the token file: {error.strerror}", USAGE)
    run = {"deploy": _deploy, "rollback": _rollback, "status": _status, "history": _history}[command]
    with AdminClient(arguments.server, token, _actor()) as client:
        try:
            run(client, arguments)
        except AdminCallError as error:
            return _fail(command, str(error), REFUSED if error.refused else 1)
    return 0


def _actor() -> str:
    """Who types, for the audit log: in a container the user may be a number without a name."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return f"{name}@{os.uname().nodename}"


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"onnxpress {command}", description=COMMANDS[command])
    if command in ("deploy", "rollback"):
        parser.add_argument("model", metavar="MODEL")
    else:
        parser.add_argument("model", metavar="MODEL", nargs="?", default="", help="all models without it")
    if command == "deploy":
        parser.add_argument("version", metavar="VERSION", type=_version)
    if command in ("deploy", "rollback"):
        parser.add_argument("--reason", default="", metavar="TEXT", help="kept in the deployment and the audit log")
        parser.add_argument(
            "--expected-epoch", type=int, metavar="N", help="refuse unless the deployment is at epoch N"
        )
    if command == "rollback":
        parser.add_argument("--dry-run", action="store_true", help="only say where a rollback would go, and why")
    if command == "history":
        parser.add_argument("--limit", type=int, default=100, metavar="N", help="newest records shown (default 100)")
    parser.add_argument(
        "--server", default="127.0.0.1:8003", metavar="HOST:PORT", help="admin address (default %(default)s)"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token of the admin port")
    return parser


def _version(text: str) -> int:
    try:
        return parse_version(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _deploy(client: AdminClient, arguments: argparse.Namespace) -> None:
    request = pb.DeployRequest(
        model=arguments.model,
        version=arguments.version,
        expected_epoch=arguments.expected_epoch,
        reason=arguments.reason,
    )
    _say_outcome(client.call(lambda stub: stub.Deploy, request))


def _rollback(client: AdminClient, arguments: argparse.Namespace) -> None:
    request = pb.RollbackRequest(
        model=arguments.model,
        expected_epoch=arguments.expected_epoch,
        reason=arguments.reason,
        dry_run=arguments.dry_run,
    )
    done = client.call(lambda stub: stub.Rollback, request)
    why = f"it was live before version {done.previous_version} and was not rolled back from"
    if arguments.dry_run:
        _say(f"{done.model}: a rollback would make version {done.version} live: {why}")
    else:
        _say_outcome(done)
        _say(f"{done.model}: back to version {done.version}, since {why}")


def _say_outcome(done: pb.DeployResponse) -> None:
    if done.changed:
        before = f"before: {done.previous_version}" if done.previous_version else "the first"
        _say(f"{done.model}: version {done.version} is live ({before}), epoch {done.epoch}")
    else:
        _say(f"{done.model}: version {done.version} was live already, epoch {done.epoch}; nothing changed")


def _status(client: AdminClient, arguments: argparse.Namespace) -> None:
    if arguments.model:
        models = [client.call(lambda stub: stub.GetDeployment, pb.GetDeploymentRequest(model=arguments.model))]
    else:
        models = list(client.call(lambda stub: stub.ListModels, pb.ListModelsRequest()).models)
    if not models:
        _say("no models in the repository")
    for model in models:
        live = f"version {model.live_version} live" if model.live_version else "nothing live"
        _say(
            f"{model.model}: {live}, epoch {model.epoch}"
            + (f", {model.reason!r} by {model.actor}" if model.reason else "")
        )
        for version in model.versions:
            state = pb.VersionState.Name(version.state).removeprefix("VERSION_STATE_").lower()
            if version.state == pb.VERSION_STATE_READY and version.reason:
                state = f"{state}, {version.reason}"
            mark = "*" if version.version == model.live_version else " "
            reason = version.reason if version.state == pb.VERSION_STATE_FAILED else ""
            line = f"  {mark} {version.version:>4}  {state:<9}  {version.digest[:DIGEST_SHOWN]:<12}  {reason}"
            _say(line.rstrip())
            if version.alone:
                _say(f"          shared batches: no: {version.alone}")


def _history(client: AdminClient, arguments: argparse.Namespace) -> None:
    request = pb.GetHistoryRequest(model=arguments.model, limit=arguments.limit)
    for record in client.call(lambda stub: stub.GetHistory, request).records:
        at = record.at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
        change = f"{record.from_version} -> {record.to_version}"
        reason = f"  {record.reason!r}" if record.reason else ""
        what = f"{record.model}  {record.action:<8} {change:<10} epoch {record.epoch}"
        _say(f"{at}  {what}  {record.result}  by {record.actor}{reason}")


def _say(line: Any) -> None:
    print(line)


def _fail(command: str, message: str, code: int) -> int:
    print(f"onnxpress {command}: {message}", file=sys.stderr)
    return code
