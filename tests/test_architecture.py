"""The rooms of design and ARCHITECTURE.md, held by reading the sources: what may import what, how large, what never."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from onnxpress.packages.datatypes import DATATYPES
from tests.untested import UNTESTED

ROOT = Path(__file__).parents[1]
ROOMS = ("server", "converters", "loadtests", "packages", "client", "ci")
LINES_MAX = 400
FUNCTION_LINES_MAX = 60
DEPTH_MAX = 2
SPELLINGS_MAX = 2  # of datatypes in one mapping; one of more is a table
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "base", "misc", "tools", "core"}

# Who may import whom, inside the product; whatever is not listed imports leaves only.
LEAVES = {
    "onnxpress.server.logs",
    "onnxpress.server.settings",
    "onnxpress.server.errors",
    "onnxpress.server.facts",
    "onnxpress.protos",
}
MAY_IMPORT = {
    "onnxpress": {"onnxpress.converters", "onnxpress.packages", "onnxpress.client"},
    # What a caller installs: neither the server nor the converters, and of the packages what the protocol needs.
    "onnxpress.client": {"onnxpress.client", "onnxpress.packages.datatypes", "onnxpress.packages.names"},
    "onnxpress.cli": {"onnxpress.cli", "onnxpress.packages.names"},
    # Its stages are commands in processes of their own: it imports none of the rooms that it tests.
    "onnxpress.ci": {"onnxpress.ci", "onnxpress.cli"},
    "onnxpress.packages": {"onnxpress.packages"},
    "onnxpress.server.cli": {
        "onnxpress.cli",
        "onnxpress.server.cli",
        "onnxpress.server.wiring",
        "onnxpress.server.versions",
        "onnxpress.server.serving",
        "onnxpress.packages",
        # Deploy and its like are calls to an admin port, as any client makes them.
        "onnxpress.client.connection",
    },
    "onnxpress.server.wiring": {
        "onnxpress.server.rpc",
        "onnxpress.server.http",
        "onnxpress.server.front",
        "onnxpress.server.wire",
        "onnxpress.server.rollouts",
        "onnxpress.server.versions",
        "onnxpress.server.sources",
        "onnxpress.server.serving",
        "onnxpress.server.telemetry",
        "onnxpress.packages",
    },
    "onnxpress.server.rpc": {
        "onnxpress.server.rpc",
        "onnxpress.server.front",
        "onnxpress.server.wire",
        "onnxpress.server.rollouts",
        "onnxpress.server.versions",
        "onnxpress.server.serving",
        "onnxpress.server.telemetry",
        "onnxpress.packages",
    },
    "onnxpress.server.http": {"onnxpress.server.http"},
    "onnxpress.server.front": {
        "onnxpress.server.front",
        "onnxpress.server.wire",
        "onnxpress.server.serving",
        "onnxpress.packages",
    },
    "onnxpress.server.wire": {"onnxpress.server.wire", "onnxpress.server.serving", "onnxpress.packages"},
    "onnxpress.server.versions": {
        "onnxpress.server.versions",
        "onnxpress.server.sources",
        "onnxpress.server.serving",
        "onnxpress.packages",
    },
    "onnxpress.server.rollouts": {
        "onnxpress.server.rollouts",
        "onnxpress.server.versions",
        "onnxpress.server.serving",
        "onnxpress.packages",
    },
    "onnxpress.server.sources": {"onnxpress.server.sources", "onnxpress.packages"},
    "onnxpress.server.serving": {"onnxpress.server.serving", "onnxpress.packages"},
    "onnxpress.server.telemetry": {"onnxpress.server.telemetry"},
    "onnxpress.server.settings": set(),
    "onnxpress.server.logs": set(),
    "onnxpress.server.errors": {"onnxpress.packages.errors"},
    "onnxpress.server.facts": set(),
    "onnxpress.converters": {"onnxpress.converters", "onnxpress.packages"},
    "onnxpress.converters.cli": {"onnxpress.converters", "onnxpress.packages", "onnxpress.cli"},
    "onnxpress.loadtests": {"onnxpress.loadtests", "onnxpress.packages"},
    "onnxpress.loadtests.cli": {"onnxpress.loadtests", "onnxpress.packages", "onnxpress.cli"},
}
# Library -> the only files (or folders) of the product that may import it.
HOMES = {
    "click": ("onnxpress/__main__.py", "onnxpress/cli/", "server/cli/", "converters/cli.py", "loadtests/cli.py", "ci/"),
    "rich": ("onnxpress/cli/",),
    "grpc": ("server/wire/", "server/front/", "server/rpc/", "server/cli/admin_client.py", "loadtests/", "client/"),
    "grpc_health": ("server/rpc/",),
    "grpc_reflection": ("server/rpc/",),
    "pygrpc_native": ("server/front/native.py",),
    "onnxruntime": ("packages/runtime.py",),
    "uvloop": ("server/wiring.py", "loadtests/generator/"),
    "starlette": ("server/http/",),
    "uvicorn": ("server/http/",),
    "prometheus_client": ("server/wiring.py", "server/telemetry/", "server/http/"),
    "locust": ("loadtests/",),
    "gevent": ("loadtests/",),
    "msgpack": ("loadtests/",),
    "hdrh": ("loadtests/",),
    "sklearn": ("converters/",),
    "xgboost": ("converters/",),
    "lightgbm": ("converters/",),
    "pandas": ("converters/", "loadtests/"),
    "onnx": ("converters/",),
    "skl2onnx": ("converters/",),
    "pickle": ("converters/loading.py",),
    "joblib": ("converters/",),
}
# Pure deciders: `now` is an argument, nothing is awaited, opened or locked.
PURE = (
    "batching", "admission", "lifecycle", "next_action", "rollout", "targets", "rollback_history", "routing",
    "windows", "evidence", "guards", "decide", "audit_bounds", "refusal_window", "records", "replay", "forecast",
)  # fmt: skip
IMPURE = {"asyncio", "grpc", "threading", "time", "socket", "os", "subprocess", "random", "datetime", "logging"}
# Call -> what to write instead.
BANNED = {
    "time.sleep": "wait for the event itself: a Condition, an Event, a queue with a timeout",
    "eval": "parse what you expect",
    "exec": "call a function",
    "os.system": "subprocess.run with a list and a timeout",
    "pickle.load": "models come as ONNX; see converters/loading.py for the one guarded place",
    "pickle.loads": "models come as ONNX; see converters/loading.py for the one guarded place",
    "asyncio.get_event_loop": "asyncio.get_running_loop",
    "datetime.datetime.now": "datetime.now(UTC)",
    "tempfile.mktemp": "tempfile.mkdtemp",
}
PRINTERS = ("server/versions/preflight.py", "loadtests/")
UNPICKLERS = ("converters/loading.py",)  # behind --trust-pickle, in a child process
SLEEPERS = ("loadtests/",)  # generators of load sleep until the next intended send
# Test files that are about a whole room, or about the kernel in C, and not about one module.
SUITES = {"tests/packages/forest/test_kernel.py", "tests/converters/test_matrix.py", "tests/ci/test_workflows.py"}


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the product by its path from the root; generated ones are left out."""
    files = [path for room in ("onnxpress", *ROOMS) for path in (ROOT / room).rglob("*.py")]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(files)}


@cache
def module_names() -> set[str]:
    files = [path for room in (*ROOMS, "protos") for path in (ROOT / room).rglob("*.py")]
    return {module_name(str(path.relative_to(ROOT))) for path in files}


def module_name(path: str) -> str:
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return name if name.startswith("onnxpress") else f"onnxpress.{name}"


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported, functions' own and typing-only ones included; a package is not its submodule."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide the room"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in module_names() else node.module or ""


def room(name: str) -> str:
    """The entry of MAY_IMPORT that a module belongs to."""
    return max((entry for entry in MAY_IMPORT if name == entry or name.startswith(entry + ".")), key=len)


def test_every_module_has_a_room() -> None:
    """A module that is in none of the rooms has no rules: it must be given some."""
    lost = [path for path in sources() if not any(module_name(path).startswith(entry) for entry in MAY_IMPORT)]
    lost += [path for path in sources() if path.count("/") > DEPTH_MAX]
    assert set(lost) <= {"server/__init__.py"}


def test_imports_go_one_way() -> None:
    """__main__ -> wiring -> wire -> serving -> models -> leaves; telemetry, converters and load tests on their own."""
    wrong = []
    for path, tree in sources().items():
        if path == "server/__init__.py":
            continue
        allowed = MAY_IMPORT[room(module_name(path))] | LEAVES
        for name in imports(tree):
            assert name.split(".")[0] not in {*ROOMS, "protos"}, f"{path} imports {name}: there is one root, onnxpress"
            if not name.startswith("onnxpress.") or name in {f"onnxpress.{one}" for one in ROOMS}:
                continue
            if not any(name == entry or name.startswith(entry + ".") for entry in allowed):
                wrong.append(f"{path} imports {name}; its room may import {', '.join(sorted(allowed))}")
    assert wrong == []


def test_the_client_knows_the_protocol_alone() -> None:
    """A caller's machine needs neither server nor converters, not even their leaves."""
    known = (*MAY_IMPORT["onnxpress.client"], "onnxpress.protos")
    wrong = [
        f"{path} imports {name}"
        for path, tree in sources().items()
        if path.startswith("client/")
        for name in imports(tree)
        if name.startswith("onnxpress") and not name.startswith(known)
    ]
    assert wrong == []


def test_one_home_per_library() -> None:
    """Each third-party library that shapes the code is imported in its one home, so that leaving it costs one file."""
    wrong = []
    for path, tree in sources().items():
        for name in imports(tree):
            homes = HOMES.get(name.split(".")[0])
            if homes is not None and not path.startswith(homes):
                wrong.append(f"{path} imports {name}: its home is {' or '.join(homes)}")
    assert sorted(set(wrong)) == []


def test_no_import_cycles() -> None:
    """Modules that import each other in a circle cannot be understood one at a time."""
    names = {module_name(path) for path in sources()}
    graph = {module_name(path): {name for name in imports(tree) if name in names} for path, tree in sources().items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for inner in graph[name] - {name}:
                visit(inner, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_one_table_of_datatypes() -> None:
    """Which datatype has which name in which library is said in packages/datatypes.py alone."""
    spellings = {spelling for one in DATATYPES.values() for spelling in (one.name, one.tensor_type, one.config_name)}
    tables = set()
    for path, tree in sources().items():
        for node in (one for one in ast.walk(tree) if isinstance(one, ast.Dict)):
            texts = {one.value for one in (*node.keys, *node.values) if isinstance(one, ast.Constant)}
            if len(spellings & texts) > SPELLINGS_MAX:
                tables.add(path)
    assert tables == {"converters/gate/generators.py"}, "only the extreme values to try are listed by datatype"


def test_files_are_short() -> None:
    """A file that one cannot read in one sitting holds more than one thought."""
    long = {path: len((ROOT / path).read_text().splitlines()) for path in sources()}
    long |= {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in (ROOT / "tests").rglob("*.py")}
    assert {path: lines for path, lines in long.items() if lines > LINES_MAX} == {}


def test_functions_are_short() -> None:
    """A function longer than a screen does more than one thing."""
    long = []
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path}:{node.lineno} {node.name} has {lines} lines")
    assert long == []


def test_names_say_something() -> None:
    """No module is called by a word that fits every module."""
    assert [path for path in sources() if set(Path(path).with_suffix("").parts) & NAMES_THAT_SAY_NOTHING] == []


def test_deciders_are_pure() -> None:
    """Batching, admission, lifecycle and their like read no clock, hold no lock and do no I/O."""
    wrong = []
    for path, tree in sources().items():
        if path.startswith("server/") and Path(path).stem in PURE:
            wrong += [f"{path} imports {name}" for name in imports(tree) if name.split(".")[0] in IMPURE]
    assert wrong == []


def call_name(node: ast.Call) -> str:
    """`a.b.c` of a call, or an empty string where it is no plain name."""
    parts: list[str] = []
    function: ast.expr = node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join(reversed([*parts, function.id])) if isinstance(function, ast.Name) else ""


def test_banned_calls() -> None:
    """Calls that hide a mistake are named with what to write instead."""
    wrong = []
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = call_name(node)
            if name == "print" and not path.startswith(PRINTERS):
                wrong.append(f"{path}:{node.lineno} print: use the module's logger")
            if path.startswith(UNPICKLERS if "pickle" in name else SLEEPERS if name == "time.sleep" else ()):
                continue
            if name in BANNED:
                wrong.append(f"{path}:{node.lineno} {name}: {BANNED[name]}")
    assert wrong == []


@pytest.mark.parametrize("folder", ["server", "tests/server", "tests/e2e", "tests/conformance"])
def test_tests_do_not_sleep(folder: str) -> None:
    """A test that sleeps is slow on fast machines and wrong on slow ones."""
    wrong = []
    for path in (ROOT / folder).rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        sleeps = [call for call in calls if call_name(call) in ("time.sleep", "sleep")]
        wrong += [f"{path.relative_to(ROOT)}:{call.lineno}" for call in sleeps]
    assert wrong == []


def test_every_test_says_what_it_holds() -> None:
    """A test's docstring is the behaviour in a sentence."""
    silent = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
        tests = [function for function in functions if function.name.startswith("test_")]
        silent += [f"{path.relative_to(ROOT)}: {test.name}" for test in tests if not ast.get_docstring(test)]
    assert silent == []


@cache
def module_of(test: Path) -> Path | None:
    """The module that tests/x/test_y_more.py is about: x/y_more.py, or else x/y.py; None where there is neither."""
    folder = ROOT / test.parent.relative_to(ROOT / "tests")
    words = test.stem.removeprefix("test_").split("_")
    named = (folder / ("_".join(words[:count]) + ".py") for count in range(len(words), 0, -1))
    return next((module for module in named if module.exists()), None)


@pytest.mark.parametrize("top", ["server", "packages", "client", "converters", "ci"])
def test_tests_mirror_the_tree(top: str) -> None:
    """A file tests/server/x/test_y_more.py is about server/x/y.py, so that each is found from the other."""
    lost = {str(test.relative_to(ROOT)) for test in (ROOT / "tests" / top).rglob("test_*.py") if not module_of(test)}
    assert lost == {suite for suite in SUITES if suite.startswith(f"tests/{top}/")}


@pytest.mark.parametrize("top", ["server", "converters"])
def test_every_module_has_a_test_or_a_reason(top: str) -> None:
    """A new module comes with its test; a module of UNTESTED that has got a test, or is gone, leaves that list."""
    modules = {path for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py"}
    tested = {module_of(test) for test in (ROOT / "tests" / top).rglob("test_*.py")}
    listed = {name for name in UNTESTED if name.startswith(f"{top}/")}
    assert {str(module.relative_to(ROOT)) for module in modules - tested} == listed


def test_reasons_name_tests_that_exist() -> None:
    """What covers a module of UNTESTED instead is one or more test files, and they are still there."""
    paths = {module: re.findall(r"tests/[\w/]+\.py", reason) for module, reason in UNTESTED.items()}
    assert [module for module, found in paths.items() if not found] == []
    assert [path for found in paths.values() for path in found if not (ROOT / path).is_file()] == []


def test_domain_errors_know_no_transport() -> None:
    """Domain errors import nothing but each other: they must not know what they become on the network."""
    assert list(imports(sources()["packages/errors.py"])) == []
    assert list(imports(sources()["server/errors.py"])) == ["onnxpress.packages.errors"]
