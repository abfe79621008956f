"""What `onnxpress loadtest` refuses, in one line, before anything is sent."""

import pytest

from onnxpress.__main__ import main
from onnxpress.loadtests import cli
from onnxpress.loadtests.settings import settings_of


def run(capsys, *words: str) -> tuple[int, str]:
    return main(["loadtest", *words]), capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("steady",), "--package is missing"),
        (("steady", "--rps", "0"), "--rps is 0, expected more than 0"),
        (("steady", "--target", "localhost"), "--target is 'localhost', expected HOST:PORT"),
        (("steady", "--package", "nowhere"), "no package at nowhere"),
        (("steady", "--processes", "0"), "Invalid value for '--processes': 0"),
        (("sprint",), "'sprint' is not one of 'steady'"),
    ],
)
def test_bad_usage_is_one_clear_line_and_exit_2(capsys, words, says):
    """The flag, what it is, what it must be."""
    code, said = run(capsys, *words)
    assert code == 2
    assert says in said
    assert said.startswith("onnxpress loadtest: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("swap",), "swap needs --package twice"),
        (("overload",), "overload needs --capacity"),
        (("steady", "--model", "fraud"), "--model is 'fraud', the packages are of churn"),
        (("spike", "--factors", "ten"), "--factors is 'ten'"),
        (("steady", "--baseline", "nowhere.json"), "--baseline nowhere.json is no file"),
        (("steady", "--rows-file", "nowhere.csv"), "nowhere.csv cannot be read"),
    ],
)
def test_what_a_suite_needs_is_asked_for(capsys, repository, words, says):
    """With a package in hand, the rest is checked as well."""
    code, said = run(capsys, *words, "--package", str(repository / "churn" / "1"))
    assert code == 2
    assert says in said


def test_every_setting_reaches_locust(repository):
    """The flags that locust gets make the same settings; ours that it has in other words are translated."""
    package = str(repository / "churn" / "1")
    words = ["spike", "--package", package, "--rps", "123", "--factors", "3,4", "--p99-ms", "55", "--processes", "2"]
    given = cli.parsed([*words, "--headless"])
    passed = cli.locust_arguments(given)
    assert passed[passed.index("--processes") + 1] == "2"
    assert "--progress" not in passed
    assert "--progress" in cli.locust_arguments(cli.parsed(words))
    again = cli.parsed(["spike", *[word for word in passed if "=" in word]])
    assert settings_of(again).phases() == settings_of(given).phases()
    assert settings_of(again).objectives == settings_of(given).objectives
    assert settings_of(again).factors == (3.0, 4.0)
