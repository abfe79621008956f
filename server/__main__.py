"""`python -m server` is `onnxpress serve`."""

import sys

from server.cli.serve import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
