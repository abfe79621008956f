"""The command `onnxpress`: finds the room that owns a subcommand and runs it.

Only the room of the requested command is imported, so that a serving image needs none of the converters' dependencies,
and a conversion none of the server's.

If the reader of standard output or error is gone (`onnxpress status | head -1`), a command ends without output and with
exit code 141, as shells report for a command that SIGPIPE ended.
"""

import importlib
import os
import select
import sys
from collections.abc import Sequence

import click
from click.exceptions import Exit, NoArgsIsHelpError

# Subcommand -> (module with a click command of its name, extra that installs it, one line of help).
COMMANDS = {
    "convert": (
        "onnxpress.converters.cli",
        "convert",
        "compile a trained model to ONNX, prove it equal, write a package",
    ),
    "verify": ("onnxpress.server.cli.verify", "", "re-check a package's digests and golden rows on this machine"),
    "serve": ("onnxpress.server.cli.serve", "", "serve a repository over gRPC"),
    "deploy": ("onnxpress.server.cli.admin", "", "make a version live"),
    "pairs": ("onnxpress.server.cli.rollout", "", "show rows that two versions of a rollout answered differently"),
    "rollout": ("onnxpress.server.cli.rollout", "", "advance, promote, pause, resume or abort a rollout"),
    "rollback": ("onnxpress.server.cli.admin", "", "make the previous version live again"),
    "status": ("onnxpress.server.cli.admin", "", "show what is live, and every version's state"),
    "history": ("onnxpress.server.cli.admin", "", "show who changed what, when and why"),
    "audit": ("onnxpress.server.cli.audit", "", "verify, export or follow the audit log of a state folder"),
    "loadtest": ("onnxpress.loadtests.cli", "loadtest", "hold a server to its latency objectives under load"),
    "gate": ("onnxpress.ci.cli", "convert,loadtest", "convert, verify and load test a model, and sign it off"),
}
NAME = "onnxpress"
COMPLETE = "_ONNXPRESS_COMPLETE"
EPILOG = (
    '`onnxpress COMMAND --help` explains one. Completion: eval "$(_ONNXPRESS_COMPLETE=bash_source onnxpress)" in bash; '
    "docs/cli.md has zsh and fish."
)
USAGE_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT
READER_GONE = 141  # 128 + SIGPIPE


class Rooms(click.Group):
    """Lists commands from COMMANDS alone; imports only the room of the requested one."""

    def __init__(self) -> None:
        listed = {name: click.Command(name, help=line) for name, (_, _, line) in COMMANDS.items()}
        summary = "Compiles trained models to ONNX, proves them equal, serves and swaps them over gRPC."
        names = {"help_option_names": ["-h", "--help"]}
        super().__init__(NAME, commands=listed, help=summary, epilog=EPILOG, context_settings=names)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        if name is None or listed is None:
            return None, None, rest
        try:
            return name, getattr(importlib.import_module(COMMANDS[name][0]), name), rest
        except ModuleNotFoundError:
            if ctx.resilient_parsing:  # shell completion: there is nothing to offer
                return None, None, rest
            raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command, of `arguments` or of the process; returns the exit code. Users' errors print no traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = run(words)
        _flush()
    except BrokenPipeError:
        if not _silence():
            raise
        return READER_GONE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def run(words: list[str]) -> int:
    """Runs the command in its room and returns the exit code."""
    rooms = click.version_option(package_name=NAME, message="%(prog)s %(version)s")(Rooms())
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(rooms, {}, NAME, COMPLETE, instruction)
    try:
        with rooms.make_context(NAME, words) as context:
            rooms.invoke(context)
    except Exit as ended:  # --help and --version have been answered
        return ended.exit_code
    except NoArgsIsHelpError as usage:
        click.echo(usage.message)
        return USAGE_ERROR
    except click.ClickException as error:
        _say(error, words)
        return error.exit_code
    except ModuleNotFoundError as missing:
        if not _is_extra(words[0], missing.name or ""):
            raise
        needs = f"{words[0]} needs {missing.name}, which is not installed"
        click.echo(f"{NAME}: {needs}: pip install 'onnxpress[{COMMANDS[words[0]][1]}]'", err=True)
        return USAGE_ERROR
    return 0


def _say(error: click.ClickException, words: list[str]) -> None:
    """Prints one line that begins with the command. Some of click's own messages have several lines."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if isinstance(error, click.UsageError):
        message = " ".join(message.split())
    click.echo(f"{context.command_path if context else ' '.join([NAME, *words[:1]])}: {message}", err=True)


def _is_extra(command: str, module: str) -> bool:
    """Whether an extra would install the missing module; one that is missing in an installed room is our own fault."""
    room, extra, _ = COMMANDS[command]
    return bool(extra) and (not module.startswith("onnxpress.") or module == room.rpartition(".")[0])


def _flush() -> None:
    """Flushes here, where errors are handled, and not at the interpreter's exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _silence() -> bool:
    """Redirects every standard stream whose reader is gone to the null device. False: none, so another pipe broke."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            poll.register(stream, 0)  # errors and hang-ups are reported in any case
    gone = [descriptor for descriptor, _ in poll.poll(0)]
    for descriptor in gone:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)
    return bool(gone)


if __name__ == "__main__":
    sys.exit(main())
