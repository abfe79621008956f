"""The files of CI services are valid by their schemas and run the gate."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / ".github" / "workflows" / "model-gate.yml"
CHECK = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows")


def check(path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([*CHECK, path], capture_output=True, text=True, check=False)


def test_the_workflow_is_valid_by_its_schema(tmp_path):
    """GitHub's own schema takes the workflow, and refuses it with a misspelt key."""
    assert check(WORKFLOW).returncode == 0, check(WORKFLOW).stdout
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOW.read_text().replace("runs-on:", "run-on:"))
    assert check(broken).returncode != 0


def test_both_services_run_the_gate_with_the_same_arguments():
    """The command line of the workflow is that of the Jenkinsfile."""
    words = re.compile(r"onnxpress gate .*")
    workflow, jenkins = (words.search(path.read_text()).group() for path in (WORKFLOW, ROOT / "Jenkinsfile"))
    assert workflow == jenkins


def test_no_input_is_part_of_a_command():
    """Inputs are passed in the environment, since text in a `run:` line would be executed."""
    for line in WORKFLOW.read_text().splitlines():
        assert "run:" not in line or "${{" not in line


def test_the_jenkinsfile_closes_what_it_opens():
    """Outside its strings and comments every brace, bracket and parenthesis has its partner."""
    text = re.sub(r"'''.*?'''|'[^']*'|//[^\n]*", "", (ROOT / "Jenkinsfile").read_text(), flags=re.DOTALL)
    pairs, stack = {")": "(", "]": "[", "}": "{"}, []
    for letter in text:
        if letter in "([{":
            stack.append(letter)
        elif letter in pairs:
            assert stack.pop() == pairs[letter]
    assert not stack


def test_the_shell_scripts_parse():
    """bash reads every script of ci/ to its end."""
    scripts = sorted((ROOT / "ci").glob("*.sh"))
    assert scripts
    for script in scripts:
        subprocess.run(["bash", "-n", script], check=True)
