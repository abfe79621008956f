"""The command `onnxpress rollout`: what an engineer does with an active rollout."""

from typing import Any

import click

from onnxpress.cli.output import facts_of, print_json
from onnxpress.server.cli.admin import asks_server, client_of, epoch_expected, one_model, reason_given

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
