"""Options and errors that the commands share."""

import argparse
from pathlib import Path
from typing import Any

import click

from onnxpress.packages.names import parse_version

OUTPUTS = ("text", "json")

output_option = click.option(
    "--output",
    type=click.Choice(OUTPUTS),
    default="text",
    show_default=True,
    help="text for people, json for programs; docs/cli.md documents its shape",
)


class FailedError(click.ClickException):
    """The command could not do its work; exit code 1."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.ctx = click.get_current_context(silent=True)


class RefusedError(FailedError):
    """The request was valid and was refused; exit code 3."""

    exit_code = 3


def version_number(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Callback of a version, by the one rule of `packages/names.py`. Raises a usage error that states the rule."""
    if text is None:
        return None
    try:
        return parse_version(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


class DeclaredOptions(argparse.ArgumentParser):
    """Collects what is declared by `add_argument`, as click options.

    The settings of the server and of the load tests are declared once, for argparse, since locust's parser is one.
    Options of an argument group are not collected.
    """

    def __init__(self) -> None:
        super().__init__(add_help=False)
        self.options: list[click.Parameter] = []

    def add_argument(self, *names: str, **given: Any) -> Any:
        action = super().add_argument(*names, **given)
        several = given.get("action") == "append"
        self.options.append(
            click.Option(
                [*names, action.dest],
                type=_type_of(action),
                default=action.default,
                metavar=given.get("metavar"),
                help=(action.help or "") % {"default": action.default},
                multiple=several,
                callback=_as_list if several else None,
                is_flag=given.get("action") == "store_true",
                show_default=action.default not in (None, "", False),
            )
        )
        return action


def _type_of(action: argparse.Action) -> Any:
    if action.nargs == 0:
        return bool
    if action.choices:
        return click.Choice(list(action.choices))
    if action.type is Path:
        return click.Path(path_type=Path)
    if action.metavar in ("PATH", "FILE", "DIR", "CSV", "TOML", "JSON"):
        return click.Path()  # text, which shells complete by files
    return action.type or str


def _as_list(_context: click.Context, _parameter: click.Parameter, values: tuple[Any, ...]) -> list[Any] | None:
    return list(values) or None
