"""The gate: asks the original and the compiled model the same rows and counts where they part."""

import time
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from converters import compare
from converters.family import Answer, ConversionRefused, Family, Schema, Tensors
from converters.runtime import Session
from converters.sample import feeds, sent
from protos.package_pb2 import GeneratorReport, ParityReport

CHUNK_ROWS = 4096
GOLDEN_ROWS = 256


@dataclass
class Proof:
    report: ParityReport
    golden: Tensors
    exact_datatype: str = "FP32"
    notes: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises ConversionRefused with the findings unless the compiled model is exact."""
        failed = [found for found in self.report.generators if found.outside]
        if failed:
            raise ConversionRefused(
                "; ".join(f"{found.generator}: {found.outside} of {found.rows} rows" for found in failed)
            )


def prove(family: Family, model: Any, schema: Schema, rows: pd.DataFrame, compiled: bytes) -> Proof:
    started = time.monotonic()
    session = Session(compiled)
    rows = sent(rows, schema)
    found = GeneratorReport(generator="R", description="rows of the sample", rows=len(rows))
    for first in range(0, len(rows), CHUNK_ROWS):
        block = rows.iloc[first : first + CHUNK_ROWS]
        answer = family.answer(model, schema, block)
        compare.check_answer(answer, schema, len(block))
        copy = session.run(feeds(block, schema))
        compare.check_compiled(copy, schema, len(block))
        found.outside += int(compare.float_difference(answer, copy).outside.sum())
        if schema.classes:
            found.outside += int(compare.label_difference(answer, copy).outside.sum())
    head = rows.iloc[:GOLDEN_ROWS]
    answer = family.answer(model, schema, head)
    golden = golden_of(feeds(head, schema), answer)
    report = ParityReport(exact=not found.outside, generators=[found], seconds=time.monotonic() - started)
    return Proof(report, golden)


def golden_of(inputs: Tensors, answer: Answer) -> Tensors:
    """Stored rows and answers, without pickled objects: text as numpy text."""

    def plain(values: Any) -> Any:
        return values.astype(str) if values.dtype.kind in "OU" else values

    return (
        {f"inputs/{name}": plain(values) for name, values in inputs.items()}
        | {f"outputs/{name}": plain(values) for name, values in answer.outputs.items()}
        | {f"tolerance/{name}": values for name, values in answer.tolerance.items() if name in compare.FLOATS}
    )
