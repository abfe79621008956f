"""The commands `onnxpress deploy`, `rollback`, `status` and `history`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxpress.cli.options import output_option, version_number
from onnxpress.cli.output import STATE_STYLES, facts_of, print_json, print_table, printable, terminal
from onnxpress.server.cli.plan import plan_lines
from onnxpress.server.cli.rollout_options import PlanOptions, plans_rollout, rollout_lines

# gRPC is imported when a command runs: --help and completion do not need it.
if TYPE_CHECKING:
    from onnxpress.protos import admin_pb2 as pb
    from onnxpress.server.cli.admin_client import AdminClient

UINT32_MAX, UINT64_MAX = 2**32 - 1, 2**64 - 1
DIGEST_SHOWN = 12
# Flag -> what its file holds; the last is shown first by --help.
FILES = {
    "--tls-key-file": "PEM private key of the client certificate",
    "--tls-cert-file": "PEM client certificate to show to the server",
    "--tls-ca-file": "PEM authorities that the server's certificate must come from",
    "--token-file": "bearer token of the admin port",
}

any_model = click.argument("model", default="", metavar="[MODEL]")
one_model = click.argument("model", metavar="MODEL")
reason_given = click.option("--reason", default="", metavar="TEXT", help="kept in the deployment and the audit log")
epoch_expected = click.option(
    "--expected-epoch",
    type=click.IntRange(0, UINT64_MAX),
    metavar="N",
    help="refuse unless the deployment is at epoch N",
)


def asks_server(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of every command here: the server's address, credentials and the output format."""
    command = output_option(command)
    for flag, text in FILES.items():
        command = click.option(flag, type=click.Path(path_type=Path), metavar="FILE", help=text)(command)
    return click.option(
        "--server", default="127.0.0.1:8003", show_default=True, metavar="HOST:PORT", help="the server's admin address"
    )(command)


@click.command
@one_model
@click.argument("version", callback=version_number, metavar="VERSION")
@reason_given
@epoch_expected
@click.option(
    "--allow-breaking", is_flag=True, help="deploy it although callers of the live version could not call it unchanged"
)
@plans_rollout
@click.option("--dry-run", is_flag=True, help="only tell how long each step of a rollout would take to see a fault")
@asks_server
def deploy(
    model: str,
    version: int,
    reason: str,
    expected_epoch: int | None,
    plan: PlanOptions,
    allow_breaking: bool,
    dry_run: bool,
    **asked: Any,
) -> None:
    """Makes a version live. When the command returns, every new request is answered by it.

    With --canary it gets a share of the calls beside the live version, is compared with it, and is promoted or rolled
    back by itself.
    """
    from onnxpress.protos import admin_pb2 as pb

    if dry_run:
        if not plan.given:
            raise click.UsageError("--dry-run shows a rollout: it needs --canary, --steps, --ab or --shadow")
        asks = pb.PlanRolloutRequest(
            model=model,
            version=version,
            expected_epoch=expected_epoch,
            rollout=plan.message(),
            allow_breaking=allow_breaking,
        )
        with client_of(asked) as client:
            planned: pb.PlanRolloutResponse = client.call("PlanRollout", asks)
        if asked["output"] == "json":
            print_json("plan/v1", facts_of(planned))
        else:
            click.echo("\n".join(plan_lines(planned)))
        return
    request = pb.DeployRequest(
        model=model,
        version=version,
        expected_epoch=expected_epoch,
        reason=reason,
        rollout=plan.message(),
        allow_breaking=allow_breaking,
    )
    with client_of(asked) as client:
        done: pb.DeployResponse = client.call("Deploy", request)
    if asked["output"] == "json":
        print_json("deploy/v1", facts_of(done))
    elif plan.given:
        click.echo(f"{done.model}: rolling out version {version}, {plan.text()}, epoch {done.epoch}")
    else:
        print_outcome(done)


@click.command
@one_model
@reason_given
@epoch_expected
@click.option("--dry-run", is_flag=True, help="only tell where a rollback would go, and why")
@asks_server
def rollback(model: str, reason: str, expected_epoch: int | None, dry_run: bool, **asked: Any) -> None:
    """Makes the newest version live that was live before and was not rolled back from."""
    from onnxpress.protos import admin_pb2 as pb

    request = pb.RollbackRequest(model=model, expected_epoch=expected_epoch, reason=reason, dry_run=dry_run)
    with client_of(asked) as client:
        done: pb.DeployResponse = client.call("Rollback", request)
    why = f"it was live before version {done.previous_version} and was not rolled back from"
    if asked["output"] == "json":
        print_json("rollback/v1", facts_of(done) | {"dry_run": dry_run})
    elif dry_run:
        click.echo(f"{done.model}: a rollback would make version {done.version} live: {why}")
    else:
        print_outcome(done)
        click.echo(f"{done.model}: back to version {done.version}, since {why}")


@click.command
@any_model
@asks_server
def status(model: str, **asked: Any) -> None:
    """Shows which version is live, and the state of every version; of all models unless one is named."""
    from onnxpress.protos import admin_pb2 as pb

    with client_of(asked) as client:
        if model:
            one = client.call("GetDeployment", pb.GetDeploymentRequest(model=model))
            told = pb.ListModelsResponse(models=[one])
        else:
            told = client.call("ListModels", pb.ListModelsRequest())
    if asked["output"] == "json":
        print_json("status/v1", facts_of(told))
        return
    models = told.models
    for notice in told.notices:
        click.echo(f"notice: {printable(notice)}")
    if not models:
        click.echo("no models in the repository")
    for one in models:
        _print_model(one)
        for line in (*_gate_lines(one), *rollout_lines(one)):
            click.echo(line)


@click.command
@any_model
@click.option(
    "--limit", type=click.IntRange(1, UINT32_MAX), default=100, show_default=True, metavar="N", help="newest records"
)
@asks_server
def history(model: str, limit: int, **asked: Any) -> None:
    """Shows who changed what, when and why, from the audit log; newest last."""
    from onnxpress.protos import admin_pb2 as pb

    request = pb.GetHistoryRequest(model=model, limit=limit)
    with client_of(asked) as client:
        told = client.call("GetHistory", request)
    if asked["output"] == "json":
        print_json("history/v1", {"records": [facts_of(record) for record in told.records], "unread": told.unread})
        return
    if told.unread:
        click.echo(f"{told.unread:,} older records were not searched: `onnxpress audit export` has all")
    elif not told.records:
        click.echo("no changes yet")
    _print_records(list(told.records))


def client_of(asked: dict[str, Any]) -> "AdminClient":
    """A client of the server that the options name."""
    from onnxpress.server.cli.admin_client import AdminClient, TlsFiles

    if (asked["tls_cert_file"] is None) != (asked["tls_key_file"] is None):
        raise click.UsageError("--tls-cert-file and --tls-key-file go together")
    files = TlsFiles(asked["tls_ca_file"], asked["tls_cert_file"], asked["tls_key_file"])
    try:
        return AdminClient(asked["server"], _token(asked["token_file"]), files)
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error


def _token(path: Path | None) -> str:
    """The bearer token; empty without a file. Raises OSError."""
    if path is None:
        return ""
    token = path.read_bytes().strip().decode("ascii", "replace")
    if not token or not token.isprintable() or not token.isascii():  # gRPC could not send it
        raise click.UsageError(f"{path} must hold one token on one line, in printable ASCII")
    return token


def print_outcome(done: "pb.DeployResponse") -> None:
    if done.changed:
        before = f"before: {done.previous_version}" if done.previous_version else "the first"
        click.echo(f"{done.model}: version {done.version} is live ({before}), epoch {done.epoch}")
    else:
        click.echo(f"{done.model}: version {done.version} was live already, epoch {done.epoch}; nothing changed")


def _print_model(model: "pb.GetDeploymentResponse") -> None:
    live = f"version {model.live_version} live" if model.live_version else "nothing live"
    why = f", {model.reason!r} by {printable(model.actor)}" if model.reason else ""
    title = f"{model.model}: {live}, epoch {model.epoch}{why}"
    if model.trouble:
        title += f"\n{model.model}: {printable(model.trouble)}"
    rows = []
    for version in facts_of(model)["versions"]:
        mark = "*" if version["version"] == model.live_version else " "
        state, reason = version["state"], printable(version["reason"])
        if state == "ready":  # its files are wrong, or its rows depend on each other
            state, reason = f"ready, {reason}" if reason else state, _alone(version["alone"])
        cells = (mark, str(version["version"]), state, version["digest"][:DIGEST_SHOWN])
        rows.append((STATE_STYLES.get(version["state"], ""), (*cells, reason)))
    if (console := terminal(sys.stdout)) is not None:
        print_table(console, ("", "version", "state", "digest", "reason"), rows, title)
        return
    click.echo(title)
    for _, (mark, number, state, digest, reason) in rows:
        click.echo(f"  {mark} {number:>4}  {state:<9}  {digest:<12}  {reason}".rstrip())


def _alone(why: str) -> str:
    return f"shared batches: no: {printable(why)}" if why else ""


def _gate_lines(model: "pb.GetDeploymentResponse") -> list[str]:
    """The verdict of the gate on each version that has one."""
    lines = []
    for version in facts_of(model)["versions"]:
        gate = version["gate"]
        if gate is None:
            continue
        line = f"  gate of version {version['version']}: {gate['verdict']}"
        if gate["champion"]:
            interval = f"[{gate['gain_low']:+.4g}, {gate['gain_high']:+.4g}]"
            line += f" against version {gate['champion']}, {gate['metric']} {gate['gain']:+.4g} {interval}"
        lines.append(line + "".join(f"; {printable(reason)}" for reason in gate["reasons"]))
    return lines


def _print_records(records: "list[pb.AuditRecord]") -> None:
    console = terminal(sys.stdout)
    rows = []
    for record in records:
        at = record.at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S")
        change = f"{record.from_version} -> {record.to_version}"
        who, result = f"by {printable(record.actor)}", printable(record.result)
        if record.code:
            result = f"{result} ({record.code})"
        why = repr(record.reason) if record.reason else ""
        if console is None:
            what = f"{printable(record.model)}  {printable(record.action):<8} {change:<10} epoch {record.epoch}"
            click.echo(f"{at}  {what}  {result}  {who}  {why}".rstrip())
        else:
            cells = (
                at,
                printable(record.model),
                f"{printable(record.action)} {change}",
                str(record.epoch),
                result,
                f"{why} {who}".strip(),
            )
            rows.append(("" if result == "ok" else "red", cells))
    if console is not None and rows:
        print_table(console, ("time (UTC)", "model", "change", "epoch", "result", "reason"), rows)
