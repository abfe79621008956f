"""The command `onnxpress`: finds the room that owns a subcommand and hands over.

Rooms are imported only when their command is asked for, so that a serving image needs none of the converters'
dependencies, and a conversion none of the server's.

Where the reader of standard output or error has left (`onnxpress status | head -1`), a command ends without a word and
with exit code 141, which is what a shell reports of a command that SIGPIPE ended.
"""

import importlib
import os
import select
import sys

# Subcommand -> (module with a `main(argv) -> exit code`, extra that installs it, one line of help).
COMMANDS = {
    "convert": (
        "onnxpress.converters.cli",
        "convert",
        "compile a trained model to ONNX, prove it equal, write a package",
    ),
    "verify": ("onnxpress.server.cli.verify", "", "re-check a package's digests and golden rows on this machine"),
    "serve": ("onnxpress.server.cli.serve", "", "serve a repository over gRPC"),
    "deploy": ("onnxpress.server.cli.admin", "", "make a version live"),
    "rollback": ("onnxpress.server.cli.admin", "", "make the previous version live again"),
    "status": ("onnxpress.server.cli.admin", "", "what is live, and every version's state"),
    "history": ("onnxpress.server.cli.admin", "", "who changed what, when and why"),
    "loadtest": ("onnxpress.loadtests.cli", "loadtest", "hold a server to its latency objectives under load"),
}
USAGE_ERROR = 2
READER_GONE = 141  # 128 + SIGPIPE


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, _, line) in COMMANDS.items()]
    return "usage: onnxpress COMMAND [OPTIONS]\n\n" + "\n".join(lines) + "\n\n`onnxpress COMMAND --help` explains one."


def main() -> int:
    try:
        try:
            code = run(sys.argv[1:])
        except SystemExit:  # argparse has printed its help or an error
            _flush()
            raise
        _flush()
    except BrokenPipeError:
        if not _silence():
            raise
        return READER_GONE
    return code


def _flush() -> None:
    """What is left to write fails here, where it is handled, and not at the interpreter's exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _silence() -> bool:
    """Points every standard stream whose reader has left at the null device. False: none, so another pipe broke."""
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


def run(arguments: list[str]) -> int:
    """Hands over to the room of the command; the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else USAGE_ERROR
    command = arguments[0]
    if command not in COMMANDS:
        print(f"onnxpress: no command {command!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return USAGE_ERROR
    module, extra, _ = COMMANDS[command]
    try:
        room = importlib.import_module(module)
    except ModuleNotFoundError as missing:
        if not extra or (missing.name or "").startswith("onnxpress."):
            raise
        print(
            f"onnxpress: {command} needs {missing.name}, which is not installed: pip install 'onnxpress[{extra}]'",
            file=sys.stderr,
        )
        return USAGE_ERROR
    return int(room.main(arguments))


if __name__ == "__main__":
    sys.exit(main())
