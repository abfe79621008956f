"""Options that are declared for argparse, on a click command."""

import argparse
from pathlib import Path
from typing import Any

import click
import pytest

from onnxpress.__main__ import main
from onnxpress.cli.options import DeclaredOptions, version_number


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="a file")
    parser.add_argument("--front", choices=("native", "grpcio"), default=None, help="which (default native)")
    parser.add_argument("--rps", type=float, default=100.0, help="rate (default %(default)s)")
    parser.add_argument("--package", action="append", default=None, metavar="DIR", help="again for more")
    parser.add_argument("--fast", action="store_true", help="a switch")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--config", "a.toml", "--front=grpcio", "--rps", "5", "--fast"],
        ["--package", "a", "--package", "b"],
    ],
)
def test_both_parsers_make_the_same_values(words: list[str]) -> None:
    """A command line means to click what it means to argparse, defaults and types included."""
    parser, declared = argparse.ArgumentParser(), DeclaredOptions()
    declare(parser)
    declare(declared)
    got: dict[str, Any] = click.Command("x", params=declared.options).make_context("x", list(words)).params
    assert got == vars(parser.parse_args(words))


def test_help_and_completion_know_the_declaration() -> None:
    """Help shows text, metavar and default; choices and files are completed."""
    declared = DeclaredOptions()
    declare(declared)
    command = click.Command("x", params=declared.options)
    text = command.get_help(click.Context(command, info_name="x"))
    for part in ("--config FILE", "[native|grpcio]", "rate (default 100.0)", "again for more"):
        assert part in text
    types = {option.name: option.type.name for option in declared.options}
    assert (types["config"], types["package"], types["front"]) == ("path", "path", "choice")


CONVERT = ("convert", "m.json", "--sample=r.csv", "--name=m", "--repository=.", "--version={}")


@pytest.mark.parametrize("text", ["0", "01", "+1", "1_000", " 1", "1.0", "²", "latest", "9" * 19])
@pytest.mark.parametrize("words", [("deploy", "churn", "{}"), CONVERT], ids=["deploy", "convert"])
def test_commands_take_versions_by_the_one_rule(
    words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is not a version in requests and folder names is a usage error on the command line too."""
    assert main([word.format(text) for word in words]) == 2
    assert "expected a positive integer without leading zeros" in capsys.readouterr().err


def test_a_version_becomes_its_number() -> None:
    """A version on the command line is passed on as an integer, and an absent one as None."""
    command = click.Command("x", params=[click.Option(["--version"], callback=version_number)])
    assert command.make_context("x", ["--version", "12"]).params == {"version": 12}
    assert command.make_context("x", []).params == {"version": None}
