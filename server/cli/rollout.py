"""The commands `onnxpress rollout`, what an engineer does with an active rollout, and `onnxpress pairs`."""

import json
from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from onnxpress.cli.output import facts_of, print_json, printable
from onnxpress.server.cli.admin import asks_server, client_of, epoch_expected, one_model, reason_given

if TYPE_CHECKING:
    from onnxpress.protos import admin_pb2 as pb

ACTIONS = {
    "advance": "to the next step now",
    "promote": "make the candidate the live version now",
    "pause": "keep the weights as they are; guards still roll back",
    "resume": "let it advance again",
    "abort": "take the candidate out, without a verdict about it",
    "roll-back": "take the candidate out, because it is worse",
}


@click.command(epilog="; ".join(f"{action}: {text}" for action, text in ACTIONS.items()))
@click.argument("action", type=click.Choice([*ACTIONS]))
@one_model
@reason_given
@epoch_expected
@asks_server
def rollout(action: str, model: str, reason: str, expected_epoch: int | None, **asked: Any) -> None:
    """Changes the active rollout of a model, which `onnxpress deploy --canary` began."""
    from onnxpress.protos import admin_pb2 as pb

    request = pb.ChangeRolloutRequest(
        model=model,
        action=f"ROLLOUT_ACTION_{action.replace('-', '_').upper()}",
        expected_epoch=expected_epoch,
        reason=reason,
    )
    with client_of(asked) as client:
        done: pb.DeployResponse = client.call("ChangeRollout", request)
    if asked["output"] == "json":
        print_json("rollout/v1", facts_of(done) | {"action": action})
    else:
        click.echo(f"{done.model}: {action}; version {done.version} is live, epoch {done.epoch}")


@click.command
@one_model
@asks_server
def pairs(model: str, **asked: Any) -> None:
    """Shows rows that both versions of the newest rollout answered and that differ most, the worst first.

    The server keeps up to 20 of them in memory, until the model's next rollout.
    """
    from onnxpress.protos import admin_pb2 as pb

    with client_of(asked) as client:
        told: pb.GetPairsResponse = client.call("GetPairs", pb.GetPairsRequest(model=model))
    if asked["output"] == "json":
        print_json("pairs/v1", {"model": model, "rows": [_facts(row) for row in told.rows]})
        return
    if not told.rows:
        click.echo(f"{model}: no row is known that two versions answered differently")
    for row in told.rows:
        label = "another label, " if row.flipped else ""
        click.echo(f"{label}scores differ by {row.difference:.3g}")
        for name in ("inputs", "champion", "candidate"):
            click.echo(f"  {name:<9} {printable(getattr(row, name))}")


def _facts(row: "pb.PairedRow") -> dict[str, Any]:
    values = {name: json.loads(getattr(row, name)) for name in ("inputs", "champion", "candidate")}
    return {"flipped": row.flipped, "difference": row.difference if isfinite(row.difference) else None, **values}
