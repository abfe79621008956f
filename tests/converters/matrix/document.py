"""docs/conversion.md: what converts exactly and what is refused, from the matrix. Run as a module to write it."""

from importlib.metadata import version
from pathlib import Path

from tests.converters.matrix.case import Case
from tests.converters.matrix.collect import cases_by_framework

PATH = Path(__file__).parents[3] / "docs" / "conversion.md"

HEAD = """\
# What converts, exactly

<!-- Written by `python -m tests.converters.matrix.document` from the test matrix; a test says whether it is fresh. -->

onnxpress converts a model exactly or refuses it with the reason: there is nothing in between. Every configuration
below is trained, converted, put through the gate and then checked a second time by code that shares nothing with the
gate. {total} configurations: {exact} convert exactly, {refused} are refused.
{release}; later releases may convert more.

## What exact means

- The original is asked with doubles that hold exactly the values a client sends (of a float32 column: the float32
  values). A pipeline that was trained on float32 arrays computes its scalers in float32 when it is given such arrays;
  the compiled model answers as it does for doubles.
- No row on the wrong side of any split, tree by tree; sums may differ by float32 summation, and by nothing else.
- The same bits in every batch.
- `exact_datatype` in the manifest: FP64 when the answers are also those to doubles that float32 cannot hold, FP32 when
  only float32 values are. Where float32 would change a decision on the training rows themselves, `--layout auto` takes
  columns, and doubles travel as FP64.
- Rows that the original itself refuses (an unseen category, NaN or infinity for many scikit-learn models) are outside
  the contract; the manifest's notes name them.
- A missing text value travels as the empty string in columns that had missing values in training.

## What the gate asks

| | rows |
|---|---|
{generators}

Every generator has a time limit; `parity.json` says what was sampled when a model was too large for all of it, and
keeps the worst rows with both answers and every library's version. Up to 256 of the rows, the hard ones among them,
are stored in the package and asked again wherever it is loaded.
"""


def release() -> str:
    """The release that decides what converts: XGBoost 3.4 repairs what 3.2 stores broken."""
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
