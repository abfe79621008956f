"""The findings of each generator: counts, the worst rows, and the sentence of a refusal."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from onnxpress.converters.family import Answer, Schema, Tensors
from onnxpress.converters.gate.compare import Difference
from onnxpress.converters.gate.generators import DESCRIPTIONS
from onnxpress.protos.package_pb2 import GeneratorReport, WorstRow

WORST_ROWS = 3
INPUTS_SHOWN = 64
INPUTS_IN_MESSAGE = 8
ADVICE = {
    "R": "convert with the library versions that trained the model, and report this row if it stays",
    "T": "retrain, or round the features to fewer digits before training",
    "N": "fill missing values before the model, with the same numbers in training and serving",
    "Z": "clip extreme values before the model",
    "C": "encode categories by an encoder in the pipeline instead of by the model",
    "D": "convert with layout columns, which takes doubles, or train on float32",
    "B": "keep the version that is live: this runtime's answers depend on the batch",
    "W": "give the sample exactly the columns of the training rows, in their order",
    "O": "calibrate or retrain the model so that its probabilities sum to 1 and its labels follow them",
}


@dataclass
class Findings:
    """The findings of one generator, accumulated block by block."""

    generator: str
    rows: int = 0
    outside: int = 0
    worst: list[tuple[float, float, WorstRow]] = field(default_factory=list)  # (excess, difference, row)
    largest: float = 0.0
    largest_tolerance: float = 0.0
    notes: list[str] = field(default_factory=list)

    def add(self, found: Difference, rows: pd.DataFrame, answer: Answer, compiled: Tensors) -> None:
        """Counts one output's differences on a block; `rows` of a block are counted by the caller."""
        self.outside += int(found.outside.sum())
        if len(found.size):
            place = int(np.argmax(np.where(np.isfinite(found.size), found.size, np.finfo(np.float64).max)))
            if found.size[place] > self.largest:
                self.largest, self.largest_tolerance = float(found.size[place]), float(found.tolerance[place])
        places = np.flatnonzero(found.outside)
        excess = found.size[places] - found.tolerance[places]
        for index in np.argsort(-excess)[:WORST_ROWS]:
            place = int(places[index])
            row = worst_row(found, place, rows, answer, compiled)
            self.worst.append((float(excess[index]), float(found.size[place]), row))
        self.worst = sorted(self.worst, key=lambda worst: -worst[0])[:WORST_ROWS]

    def fail(self, note: str, row: WorstRow | None = None) -> None:
        """Counts a failed check that is not a row, such as an input of the wrong shape that was not rejected."""
        self.rows += 1
        self.outside += 1
        self.notes.append(note)
        if row is not None:
            self.worst = [*self.worst, (0.0, 0.0, row)][:WORST_ROWS]

    def report(self) -> GeneratorReport:
        return GeneratorReport(
            generator=self.generator,
            description="; ".join([DESCRIPTIONS[self.generator], *self.notes]),
            rows=self.rows,
            outside=self.outside,
            worst_difference=self.largest,
            worst_tolerance=self.largest_tolerance,
            worst=[row for _, _, row in self.worst],
        )


def worst_row(found: Difference, place: int, rows: pd.DataFrame, answer: Answer, compiled: Tensors) -> WorstRow:
    """One row as the report shows it: its inputs and both outputs."""
    shown = [str(name) for name in rows.columns[:INPUTS_SHOWN]]
    inputs = {name: repr(np.asarray(rows[name].to_numpy(), dtype=object)[place]) for name in shown}
    return WorstRow(
        inputs=inputs,
        output=found.output,
        original=_texts(answer.outputs[found.output][place]),
        compiled=_texts(compiled[found.output][place]),
        tolerance=float(found.tolerance[place]),
    )


def _texts(values: object) -> list[str]:
    return [str(value) for value in np.atleast_1d(np.asarray(values)).tolist()]


def sentence(report: GeneratorReport, schema: Schema) -> str:
    """The refusal message: the cause, the worst row and what the user can do."""
    text = (
        f"{report.generator} ({report.description}) found {report.outside:,} of {report.rows:,} rows "
        "where the compiled model differs from the original"
    )
    if report.worst:
        worst = report.worst[0]
        names = [column.name for column in schema.columns if column.name in worst.inputs]
        shown = ", ".join(f"{name}={worst.inputs[name]}" for name in names[:INPUTS_IN_MESSAGE])
        more = f" and {len(names) - INPUTS_IN_MESSAGE} more" if len(names) > INPUTS_IN_MESSAGE else ""
        text += (
            f"; worst row: {worst.output} is {' '.join(worst.compiled)} where the original returns "
            f"{' '.join(worst.original)} (tolerance {worst.tolerance:.1e}) at {shown}{more}"
        )
    return f"{text}. What you can do: {ADVICE[report.generator]}"
