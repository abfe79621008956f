"""The gate: runs the original and the compiled model on the same hard rows and counts the differences."""

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import (
    Answer,
    Schema,
    Subject,
    Tensors,
)
from onnxpress.converters.gate import compare, generators
from onnxpress.converters.gate.accepted_values import accepted_values
from onnxpress.converters.gate.batch_invariance import batch_differences, odd_inputs
from onnxpress.converters.gate.engines import Engines
from onnxpress.converters.gate.findings import Findings, sentence
from onnxpress.converters.gate.original import Original, joined_answer, taken
from onnxpress.converters.gate.probe_rows import Plan, ProbeRows
from onnxpress.converters.gate.split_paths import ensemble_inputs
from onnxpress.converters.progress import Progress, Step, silent
from onnxpress.converters.runtime import Session
from onnxpress.converters.sample import feeds, sent
from onnxpress.packages.errors import ConversionRefused, RunError
from onnxpress.packages.golden import Golden
from onnxpress.protos.package_pb2 import ParityReport

# Time budget of each generator in seconds; the sum bounds the gate. `sampled` reports what did not fit.
BUDGETS = {"R": 3.0, "T": 7.0, "N": 2.5, "Z": 1.5, "C": 2.5, "D": 2.5, "W": 1.0, "B": 1.5}
# Of the golden rows, at most 256 in all.
GOLDEN = {"R": 64, "T": 72, "N": 32, "Z": 16, "C": 48, "W": 16}
CELLS_MAX = 2_000_000  # of a block of rows: 16 MB of doubles
BLOCK_ROWS = (256, 8192)
BLOCK_SECONDS = 0.5
EXCHANGED_ROWS = 256
BATCH_ROWS = 384
REASONS_SHOWN = 8


@dataclass
class Proof:
    """The result of the gate. `golden` has the format of `Package.golden`; `notes` go into the manifest."""

    schema: Schema
    report: ParityReport
    golden: Golden
    exact_datatype: str
    notes: list[str]
    # Column -> the only values that the original accepts, where it refuses every other value that was tried.
    accepts: dict[str, tuple[str, ...]]
    # The original's answers on the evaluated rows of the sample, for the profile of the outputs.
    answers: Tensors
    # The content of forest.npz; empty if the second engine cannot run the model.
    forest: bytes

    def check(self) -> None:
        """Raises ConversionRefused with the worst findings unless the compiled model is exact."""
        if not self.report.exact:
            failed = [found for found in self.report.generators if found.outside and not self._told(found.generator)]
            failed.sort(key=lambda found: -found.outside / max(found.rows, 1))
            others = ", ".join(f"{found.generator}: {found.outside:,} of {found.rows:,}" for found in failed[1:])
            raise ConversionRefused(sentence(failed[0], self.schema) + (f" (also {others})" if others else ""))

    def _told(self, generator: str) -> bool:
        return generator == "D" and self.exact_datatype == "FP32"


@dataclass
class Gate:
    """One run of the gate: the two models and the findings so far."""

    original: Original
    session: Session
    engines: Engines
    schema: Schema
    random: np.random.Generator
    progress: Progress = silent
    found: dict[str, Findings] = field(default_factory=dict)
    golden: list[tuple[pd.DataFrame, Answer]] = field(default_factory=list)
    sampled: list[str] = field(default_factory=list)
    answers: list[Tensors] = field(default_factory=list)  # of R

    def findings(self, generator: str) -> Findings:
        return self.found.setdefault(generator, Findings(generator))

    def run(self, generator: str, parts: list[Plan], probe: ProbeRows) -> None:
        """Compares the two models on the rows of one generator, in random order, within its time budget."""
        plan = generators.plan_of(parts, self.random)
        found = self.findings(generator)
        began = time.monotonic()
        until = began + BUDGETS[generator]
        wanted, size, done = GOLDEN.get(generator, 0), BLOCK_ROWS[0], 0
        most = max(1, min(BLOCK_ROWS[1], CELLS_MAX // len(probe.names)))
        while done < len(plan) and (not done or time.monotonic() < until):
            started = time.monotonic()
            part = slice(done, min(done + min(size, most), len(plan)))
            rows = probe.frame(plan, part)
            rows = rows if generator == "D" else sent(rows, self.schema)
            kind = None if plan.kind is None else plan.kind[part]
            answer, kept = self.original.answer(rows, kind, plan.kinds, until)
            if answer is not None:
                rows = rows if kept.all() else rows[kept].reset_index(drop=True)
                self._compare(found, rows, answer)
                self.answers += [answer.outputs] if generator == "R" else []
                if wanted > 0:
                    self.golden.append((rows.iloc[:wanted], taken(answer, slice(0, wanted))))
                    wanted -= len(rows)
            done = part.stop
            size = size * 2 if time.monotonic() - started < BLOCK_SECONDS else size
            self.report(found, done, len(plan), time.monotonic() - began)
        self.report(found, done, len(plan), time.monotonic() - began, finished=True)
        if done < len(plan):
            self.sampled.append(f"{generator}: {done:,} of {len(plan):,} rows, drawn at random")

    def report(self, found: Findings, done: int, planned: int, seconds: float, *, finished: bool = False) -> None:
        step = Step(
            stage="proving",
            description=generators.DESCRIPTIONS[found.generator],
            generator=found.generator,
            rows_done=done,
            rows_planned=planned,
            rows_compared=found.rows,
            rows_outside=found.outside,
            seconds=seconds,
            finished=finished,
        )
        self.progress(step)

    def _compare(self, found: Findings, rows: pd.DataFrame, answer: Answer) -> None:
        inputs = feeds(rows, self.schema)
        try:
            compiled = self.session.run(inputs)
        except RunError as failure:
            raise ConversionRefused(
                f"the compiled model fails on rows that the original answers ({found.generator}, "
                f"{generators.DESCRIPTIONS[found.generator]}): {failure}"
            ) from failure
        compare.check_compiled(compiled, self.schema, len(rows))
        self.engines.compare(inputs, compiled)
        found.rows += len(rows)
        found.add(compare.float_difference(answer, compiled), rows, answer, compiled)
        if self.schema.classes:
            # Labels and sums are counted for O, except on D rows, where the double itself may change the label.
            order = found if found.generator == "D" else self.findings("O")
            order.rows += 0 if order is found else len(rows)
            for difference in (
                compare.label_difference(answer, compiled, self.schema),
                compare.sum_difference(answer, compiled),
            ):
                order.add(difference, rows, answer, compiled)


def prove(
    subject: Subject,
    *,
    rows: pd.DataFrame,
    compiled: onnx.ModelProto,
    progress: Progress = silent,
) -> Proof:
    """Compares `compiled` with the original on the sample (`rows`, typed) and on rows made from it and from the splits.

    Never raises for a difference: `Proof.check` does. Raises ConversionRefused when either model cannot be run.
    """
    schema = subject.schema
    started = time.monotonic()
    random = np.random.default_rng(0)
    rows = rows.iloc[random.permutation(len(rows))].reset_index(drop=True)
    wire = sent(rows, schema)
    probe = ProbeRows(wire, schema)
    session = Session(compiled.SerializeToString())
    gate = Gate(Original(subject), session, Engines(compiled), schema, random, progress)
    gate.findings("O")

    gate.run("R", [Plan(np.arange(len(wire)))], probe)
    if not gate.golden:
        raise ConversionRefused(
            f"the original answers none of the sample's rows: {next(iter(gate.original.refused), '')}"
        )
    splits = subject.splits()
    thresholds, missing, note = generators.from_graph(ensemble_inputs(compiled, schema, wire), probe, random)
    gate.sampled += [note] if note else []
    gate.run("T", [*thresholds, *generators.at_values(splits, probe, random)], probe)
    nullable = _nullable(wire, schema)
    gate.run("N", [*generators.missing(probe, nullable, random), *missing], probe)
    gate.run("N", generators.missing_together(probe, nullable, random, gate.original.refused_kinds), probe)
    gate.run("Z", generators.extremes(probe, random), probe)
    known = subject.categories()
    gate.run("C", generators.categories(known, probe, random), probe)
    gate.run("D", generators.doubles(splits, probe, random), ProbeRows(rows, schema))
    gate.run("W", generators.exchanged(probe, random, EXCHANGED_ROWS), probe)
    _other_checks(gate, wire)
    proof = _proof(gate, schema, time.monotonic() - started)
    return replace(proof, accepts=accepted_values(known, probe, gate.original.refused_kinds))


def _nullable(rows: pd.DataFrame, schema: Schema) -> list[int]:
    """The text columns whose missing values a client can send, as the empty text."""
    texts = [index for index, column in enumerate(schema.columns) if column.datatype == "BYTES"]
    return [i for i in texts if rows.iloc[:, i].isna().any() and not (rows.iloc[:, i] == "").any()]


def _other_checks(gate: Gate, rows: pd.DataFrame) -> None:
    """The checks of the compiled model alone: batches, and inputs that must be rejected."""
    hard = pd.concat([*(part for part, _ in gate.golden), rows.iloc[:BATCH_ROWS]], ignore_index=True)
    inputs = feeds(hard, gate.schema)
    batches = gate.findings("B")
    started = time.monotonic()
    batches.rows, batches.outside, note = batch_differences(gate.session, inputs, BUDGETS["B"])
    batches.notes += [note] if note else []
    gate.report(batches, batches.rows, batches.rows, time.monotonic() - started, finished=True)
    gate.engines.compare(inputs, gate.session.run(inputs), each_size=True)
    for answered in odd_inputs(gate.session, inputs):
        gate.findings("W").fail(answered)


def _proof(gate: Gate, schema: Schema, seconds: float) -> Proof:
    doubles = gate.findings("D")
    narrow = any(column.datatype == "FP32" for column in schema.columns)
    told = narrow and doubles.outside > 0
    notes = _refusal_notes(gate.original)
    if told:
        notes.append(
            f"doubles: on {doubles.outside:,} of {doubles.rows:,} rows the answer to a double is not that to its "
            "nearest float32; answers are exact for float32 inputs"
        )
    outside = sum(found.outside for name, found in gate.found.items() if not (told and name == "D"))
    report = ParityReport(
        exact=outside == 0,
        generators=[found.report() for _, found in sorted(gate.found.items(), key=_as_listed)],
        sampled=gate.sampled,
        seconds=seconds,
        forest=gate.engines.report(),
    )
    exact_datatype = "FP32" if told else "FP64"
    answers = {name: np.concatenate([part[name] for part in gate.answers]) for name in gate.answers[0]}
    return Proof(schema, report, _golden(gate, schema), exact_datatype, notes, {}, answers, gate.engines.forest)


def _as_listed(item: tuple[str, Findings]) -> int:
    return list(generators.DESCRIPTIONS).index(item[0])


def _refusal_notes(original: Original) -> list[str]:
    """The rows that the original refuses, by kind, as notes for the users of the package."""
    columns: dict[str, list[str]] = {}
    for kind in original.refused_kinds:
        what, _, column = kind.rpartition(" in ")
        known = columns.setdefault(what.split(" such as ")[0], [])
        known += [column] if column not in known else []
    notes: list[str] = []
    for what, where in columns.items():
        more = f" and {len(where) - REASONS_SHOWN} more" if len(where) > REASONS_SHOWN else ""
        notes.append(f"the original refuses {what} in {', '.join(where[:REASONS_SHOWN])}{more}: outside the contract")
    rest = sum(original.refused.values())
    if rest:
        notes.append(f"the original refuses {rest:,} more rows that were tried: {next(iter(original.refused))}")
    return notes


def _golden(gate: Gate, schema: Schema) -> Golden:
    """The golden rows and the original's answers, without pickled objects: text as numpy text."""
    rows = pd.concat([part for part, _ in gate.golden], ignore_index=True)
    answer = joined_answer([part for _, part in gate.golden])
    assert answer is not None
    return Golden(
        {name: _as_text(values) for name, values in feeds(rows, schema).items()},
        {name: _as_text(values) for name, values in answer.outputs.items()},
        {name: values.astype(np.float64) for name, values in answer.tolerance.items()},
    )


def _as_text(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(str) if values.dtype.kind in "OU" else values
