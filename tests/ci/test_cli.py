"""`onnxpress gate`: its command line, exit codes and output, with stages that run nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from onnxpress.__main__ import main
from onnxpress.ci import gate
from onnxpress.ci.signoff import Stage

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 60


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """A command line of files that exist."""
    for name in ("model.ubj", "rows.csv"):
        (tmp_path / name).touch()
    return ["gate", str(tmp_path / "model.ubj"), str(tmp_path / "rows.csv"), "tiny", str(tmp_path / "gate")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[gate.Request]]:
    """The requests whose stages were run: all pass, unless `load_flags` begin with an exit code for the last."""
    requests = []

    def stages(request: gate.Request) -> Iterator[Stage]:
        requests.append(request)
        code = int(request.load_flags[0]) if request.load_flags[0].isdecimal() else 0
        yield Stage("convert", 0, 2)
        yield Stage("load", code, 60, "steady: p99" if code else "")

    monkeypatch.setattr(gate, "stages", stages)
    before = signal.getsignal(signal.SIGTERM)
    yield requests
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("code", "exit_code", "verdict"), [("1", 1, "refused"), ("4", 4, "invalid")])
def test_the_exit_code_tells_the_verdict(words, asked, capsys, code, exit_code, verdict):
    """1 for a refusal, 4 for an invalid measurement; the last line names the stage and the reason."""
    assert main([*words, code]) == exit_code
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["convert  passed, 2 s", "load     failed, 60 s"]
    assert said[2].startswith(f"tiny: {verdict} at load: steady: p99; see ")


def test_a_model_that_is_signed_off_is_exit_code_0(words, asked, capsys):
    """signoff.json has the verdict, and `--output json` prints what it holds and nothing else."""
    assert main(["gate", "--output", "json", *words[1:]]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "signed off"
    assert json.loads((Path(words[-1]) / "signoff.json").read_text()) == document


def test_flags_go_to_the_commands_they_are_for(words, asked, monkeypatch):
    """What stands behind OUT goes to the load test, the others' flags come by option or environment variable."""
    monkeypatch.setenv("SERVE_FLAGS", "--front grpcio --log-format 'json'")
    assert main(["gate", "--convert-flags", "--layout matrix", *words[1:], "--rps", "5", "--output", "text"]) == 0
    (request,) = asked
    assert request.convert_flags == ("--layout", "matrix")
    assert request.serve_flags == ("--front", "grpcio", "--log-format", "json")
    assert request.load_flags == ("--rps", "5", "--output", "text")


def test_without_flags_the_load_is_a_thousand_requests_a_second(words, asked):
    """For a minute, as the help says."""
    assert main(words) == 0
    assert asked[0].load_flags == ("--rps", "1000", "--duration", "60")


@pytest.mark.parametrize("missing", ["model.ubj", "rows.csv"])
def test_a_missing_file_is_a_usage_error(words, asked, tmp_path, capsys, missing):
    """Nothing is begun with a model or rows that are not there."""
    (tmp_path / missing).unlink()
    assert main(words) == 2
    assert missing in capsys.readouterr().err
    assert asked == []


def test_a_folder_with_models_of_an_earlier_run_is_a_usage_error(words, asked, tmp_path, capsys):
    """A sign-off is about one package that the gate has made itself."""
    (tmp_path / "gate" / "models").mkdir(parents=True)
    assert main(words) == 2
    assert "models exists" in capsys.readouterr().err
    assert asked == []


def test_flags_that_are_no_words_are_a_usage_error(words, asked, capsys):
    """A quotation that is not closed is told with its flag."""
    assert main(["gate", "--serve-flags", "--host 'x", *words[1:]]) == 2
    assert "--serve-flags" in capsys.readouterr().err


def test_the_shell_script_is_the_same_command(words, tmp_path):
    """`ci/model_gate.sh`, the earlier name, hands its words to `onnxpress gate`."""
    script = tmp_path / "onnxpress"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxpress "$@"\n')
    script.chmod(0o755)
    run = subprocess.run(
        [ROOT / "ci" / "model_gate.sh", "nowhere.ubj", *words[2:]],
        env={**os.environ, "ONNXPRESS": str(script)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("onnxpress gate: ")
    assert "nowhere.ubj" in run.stderr


def test_sigterm_stops_the_stage_that_runs(words, tmp_path):
    """The gate ends with exit code 143, and neither a stage nor a server outlives it."""
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    child = f"import os, signal; open({str(fifo)!r}, 'w').write(str(os.getpid())); signal.pause()"
    script = tmp_path / "gate.py"
    script.write_text(
        "import sys\n"
        "from onnxpress.__main__ import main\n"
        "from onnxpress.ci import gate\n"
        "real = gate.stages\n"
        f"gate.stages = lambda request: real(request, [sys.executable, '-c', {child!r}])\n"
        "sys.exit(main())\n"
    )
    process = subprocess.Popen([sys.executable, script, *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    stage = psutil.Process(int(fifo.read_text()))
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(SECONDS_MAX) == 143
        assert not stage.is_running()
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            stage.kill()
