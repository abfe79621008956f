"""The command `onnxpress`: finds the room that owns a subcommand and hands over.

Rooms are imported only when their command is asked for, so that a serving image needs none of the converters'
dependencies, and a conversion none of the server's.
"""

import importlib
import sys

# Subcommand -> (module with a `main(argv) -> exit code`, extra that installs it, one line of help).
COMMANDS = {
    "convert": ("converters.cli", "convert", "compile a trained model to ONNX, prove it equal, write a package"),
    "verify": ("server.cli.verify", "", "re-check a package's digests and golden rows on this machine"),
    "serve": ("server.cli.serve", "", "serve a repository over gRPC"),
    "deploy": ("server.cli.admin", "", "make a version live"),
    "rollback": ("server.cli.admin", "", "make the previous version live again"),
    "status": ("server.cli.admin", "", "what is live, and every version's state"),
    "history": ("server.cli.admin", "", "who changed what, when and why"),
    "loadtest": ("loadtests.cli", "loadtest", "hold a server to its latency objectives under load"),
}
USAGE_ERROR = 2


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {line}" for name, (_, _, line) in COMMANDS.items()]
    return "usage: onnxpress COMMAND [OPTIONS]\n\n" + "\n".join(lines) + "\n\n`onnxpress COMMAND --help` explains one."


def main() -> int:
    arguments = sys.argv[1:]
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
        if not extra or (missing.name or "").startswith(module.split(".")[0] + "."):
            raise
        print(
            f"onnxpress: {command} needs {missing.name}, which is not installed: pip install 'onnxpress[{extra}]'",
            file=sys.stderr,
        )
        return USAGE_ERROR
    return int(room.main(arguments))


if __name__ == "__main__":
    sys.exit(main())
