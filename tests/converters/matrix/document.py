"""Writes docs/conversion.md, what converts exactly and what is refused, from the matrix. Run as a module."""

from importlib.metadata import version
from pathlib import Path

from tests.converters.matrix.case import Case
from tests.converters.matrix.collect import cases_by_framework

PATH = Path(__file__).parents[3] / "docs" / "conversion.md"

HEAD = """\
# What converts, exactly

<!-- Written by `python -m tests.converters.matrix.document` from the test matrix; a test checks that it is current. -->

onnxpress converts a model exactly or refuses it with the reason. Every configuration below is trained, converted,
proved by the gate, and then checked a second time by independent code. Of {total} configurations {exact} convert
exactly and {refused} are refused.
{release}; later releases may convert more.

## What exact means

- The original is evaluated on doubles that hold exactly the values a client sends (for a float32 column: the float32
  values). A pipeline that was trained on float32 arrays computes its scalers in float32 when it is given such arrays;
  the compiled model returns what the pipeline returns for doubles.
- Every row takes the original's branch at every split of every tree. Sums may differ by float32 summation only.
- Outputs are bitwise equal in batches of every size.
- `exact_datatype` in the manifest: FP64 when outputs are exact for all doubles, FP32 when they are exact for float32
  values only. Where rounding to float32 would change a decision on the training rows themselves, `--layout auto`
  selects columns, and doubles are sent as FP64.
- Rows that the original itself refuses (an unseen category, NaN or infinity for many scikit-learn models) are outside
  the contract; the manifest's notes name them.
- A missing text value is sent as the empty string in columns that had missing values in training.

## What the gate evaluates

| | rows |
|---|---|
{generators}

Every generator has a time limit; `parity.json` reports what was sampled when a model was too large for all rows, and
keeps the worst rows with both outputs and the version of every library. Up to 256 of the rows, hard ones included, are
stored in the package as golden rows and replayed wherever the package is loaded.

Models with trees are compiled a second time, for a kernel that walks trees faster than ONNX Runtime. The gate runs
every row through both engines, in batches of 1, 2, 7, 16, 33, 128 and 1,000 rows, and demands the same bits; at the
first difference the package is written without `forest.npz`, and `parity.json` has the reason.

## Progress

`convert(..., progress=callback)` calls `callback` with a `Step` (`converters/progress.py`) at each stage and after each
block of rows: the stage, the generator's letter, its rows done of those planned, and its seconds so far.
"""


def release() -> str:
    """The release that decides what converts: XGBoost 3.4 stores correctly what 3.2 does not."""
    return f"Written with XGBoost {'.'.join(version('xgboost-cpu').split('.')[:2])}"


def document() -> str:
    """The whole page."""
    from onnxpress.converters.gate.generators import DESCRIPTIONS

    groups = cases_by_framework()
    cases = [case for group in groups.values() for case in group]
    refused = [case for case in cases if case.refused]
    rows = "\n".join(f"| {letter} | {text} |" for letter, text in DESCRIPTIONS.items())
    head = HEAD.format(
        total=len(cases), exact=len(cases) - len(refused), refused=len(refused), generators=rows, release=release()
    )
    return head + "".join(_section(title, group) for title, group in groups.items())


def _section(title: str, cases: list[Case]) -> str:
    exact = [case for case in cases if not case.refused]
    refused = [case for case in cases if case.refused]
    lines = [f"\n## {title}\n\nExact ({len(exact)}):\n", *(f"- {case.id}" for case in exact)]
    if refused:
        lines += [f"\nRefused ({len(refused)}):\n", "| configuration | the reason names |", "|---|---|"]
        lines += [f"| {case.id} | {case.why or case.refused} |" for case in refused]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_text(document())
