"""The demo on real data: train, convert with proof, serve, call, measure, swap, roll back, roll out, stop.

`make demo`, or `python -m examples.churn`. Exit code 1 when a check failed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from time import monotonic_ns

import grpc
import numpy as np
import pandas as pd

from examples.churn import calls, report, rollouts, train
from examples.churn.ceiling import ceiling
from examples.churn.load import Work, clients
from examples.churn.report import Change, Customer, Figures, Measure, Parity
from examples.churn.server import ONNXPRESS, Served, serving
from onnxpress.protos import admin_pb2
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.protos.inference_pb2 import ModelInferResponse

MODEL = "churn"
TOGETHER = 100  # rows of a large request
CUSTOMERS = 300  # of the holdout, whom the clients ask about
SHOWN = 4
CALL_S = 10.0
CHANGE_S = 120.0
ACTOR = (("x-onnxpress-actor", "demo"),)  # whom the audit log names
MARKER = "sample.csv"  # a folder that holds it was written by a demo


class Demo:
    """One run of the demo, which collects `figures`."""

    def __init__(self, folder: Path, seconds: float, processes: int) -> None:
        self.folder = folder
        self.repository = folder / "models"
        self.seconds = seconds
        self.processes = processes
        self.figures = Figures()

    def run(self) -> Figures:
        started = time.monotonic()
        rows, _ = train.read()
        texts = len(train.texts(rows))
        say(
            f"1. Train on {train.DATA.name}: {len(rows):,} customers, {len(rows.columns)} columns, {texts} of them text"
        )
        self.quality = train.train(self.folder)
        self.holdout = pd.read_csv(self.folder / "holdout.csv").iloc[:CUSTOMERS]
        say("\n2. Convert version 1, with proof")
        self.convert(1)
        say("\n3. Serve")
        with serving(self.repository, self.folder / "server.log") as server:
            say(f"   gRPC on {server.grpc}, metrics on http://{server.http}/metrics, admin on {server.admin}")
            self.prepare()
            self.predict(server)
            say("\n4. Convert version 2 while version 1 serves")
            self.convert(2)
            self.answers[2] = calls.offline(self.repository / MODEL / "2", self.rows)
            say(report.parity_table(self.figures.parity))
            self.speed(server)
            self.swap(server)
            self.roll_out(server)
            command("status", MODEL, "--server", server.admin)
            command("history", MODEL, "--server", server.admin)
            say("\n8. Stop with SIGTERM")
            self.figures.exit_code = server.stop()
            say(f"   exit code {self.figures.exit_code}")
        self.figures.seconds = time.monotonic() - started
        return self.figures

    def convert(self, version: int) -> None:
        """Runs `onnxpress convert`."""
        name = train.MODELS[version - 1]
        model, sample = self.folder / f"{name}.joblib", self.folder / "sample.csv"
        where = ("--name", MODEL, "--repository", str(self.repository), "--version", str(version))
        command("convert", str(model), "--trust-pickle", "--sample", str(sample), *where)
        package = self.repository / MODEL / str(version)
        parity = json.loads((package / "parity.json").read_text())
        generators = parity["generators"]
        self.figures.parity.append(
            Parity(
                version,
                type_of_classifier(name),
                self.quality[name],
                bool(parity.get("exact")),
                sum(int(found.get("rows", 0)) for found in generators),
                sum(int(found.get("outside", 0)) for found in generators),
                max(found.get("worst_difference", 0.0) for found in generators),
                parity["seconds"],
            )
        )

    def prepare(self) -> None:
        """Prepares the holdout's rows, and the offline answer to each."""
        package = self.repository / MODEL / "1"
        self.columns = calls.columns_of(package)
        self.rows = calls.feeds(self.holdout, self.columns)
        self.answers = {1: calls.offline(package, self.rows)}

    def predict(self, server: Served) -> None:
        """Compares the probabilities of the original pipeline with the served ones, and shows some customers."""
        original = pd.read_csv(self.folder / "answers.csv")[train.MODELS[0]].to_numpy()[:CUSTOMERS]
        with grpc.insecure_channel(server.grpc) as channel:
            payload = calls.infer_of(channel)(calls.request(MODEL, self.rows, self.columns), timeout=CALL_S)
        answer = ModelInferResponse.FromString(payload)
        outputs = {spec.name: raw for spec, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)}
        served = np.frombuffer(outputs["probabilities"], np.float32).reshape(-1, 2)[:, 1].astype(float)
        self.figures.served_worst = float(np.abs(served - original).max())
        self.figures.customers_compared = len(served)
        for place in range(SHOWN):
            of = self.holdout.iloc[place]
            self.figures.customers.append(
                Customer(
                    str(of["Contract"]),
                    int(of["tenure"]),
                    float(of["MonthlyCharges"]),
                    float(original[place]),
                    float(served[place]),
                )
            )
        say(report.customer_table(self.figures.customers))
        say(f"   largest difference over {len(served)} customers: {self.figures.served_worst:.1e}")

    def work(self, server: Served, rows: int) -> Work:
        """Requests of `rows` rows each, with the offline answers of every version converted so far."""
        blocks = [slice(start, start + rows) for start in range(0, len(self.rows) - rows + 1, rows)]
        requests = [calls.request(MODEL, self.rows[block], self.columns) for block in blocks]
        answers = {
            version: [calls.together(alone[block]) for block in blocks] for version, alone in self.answers.items()
        }
        return Work(server.grpc, requests, rows, answers)

    def speed(self, server: Served) -> None:
        say(f"\n5. Measure version 1: {self.processes} Python clients with 4 threads each, on the server's own cores")
        for rows in (1, TOGETHER):
            label = "one row a call" if rows == 1 else f"{rows} rows a call"
            self.figures.speed.append(self.stretch(label, self.work(server, rows)))
        say(report.speed_table(self.figures.speed))
        self.figures.ceiling = ceiling(server, calls.request(MODEL, self.rows[:1], self.columns), self.seconds)
        if self.figures.ceiling is None:
            say("   (h2load is not installed: the rate of a fast client is not measured)")
        else:
            say(f"   a fast client (h2load, 8 connections x 16 streams, one row): {self.figures.ceiling:,.0f} calls/s")

    def stretch(self, label: str, work: Work) -> Measure:
        with clients(work, self.processes) as load:
            start = monotonic_ns()
            time.sleep(self.seconds)
            stop = monotonic_ns()
        self.count_errors(load.records.errors)
        return report.measure(label, load.records, start, stop)

    def swap(self, server: Served) -> None:
        """Deploys and rolls back under load; every call belongs to the period in which it was sent."""
        say("\n6. Deploy version 2 under load, then roll back")
        with grpc.insecure_channel(server.admin) as channel, clients(self.work(server, 1), self.processes) as load:
            begin = monotonic_ns()
            time.sleep(self.seconds)
            deploy = change(channel, "deploy 2", 1, 2)
            time.sleep(self.seconds)
            rollback = change(channel, "rollback to 1", 2, 1)
            time.sleep(self.seconds)
            end = monotonic_ns()
        stretches = [
            ("before", begin, deploy.started),
            ("during deploy 2", deploy.started, deploy.returned),
            ("after deploy 2", deploy.returned, rollback.started),
            ("during rollback", rollback.started, rollback.returned),
            ("after rollback", rollback.returned, end),
        ]
        self.count_errors(load.records.errors)
        self.figures.phases = [report.measure(label, load.records, *stretch) for label, *stretch in stretches]
        self.figures.barriers = report.barriers(load.records, [deploy, rollback])
        say(report.phase_table(self.figures.phases))
        say("")
        say(report.barrier_table(self.figures.barriers))

    def roll_out(self, server: Served) -> None:
        """Gives two versions a share of the calls: one with exchanged labels, and the one that is better."""
        say("\n7. Roll out under load: version 3 was trained with exchanged labels, version 2 is better")
        sample, model = self.folder / "sample.csv", rollouts.train_exchanged(self.folder)
        where = ("--name", MODEL, "--repository", str(self.repository), "--version", "3")
        command("convert", str(model), "--trust-pickle", "--sample", str(sample), *where)
        self.answers[3] = calls.offline(self.repository / MODEL / "3", self.rows)
        for version in (3, 2):
            with clients(self.work(server, 1), self.processes) as load:
                begin = monotonic_ns()
                ended = rollouts.roll_out(server.admin, MODEL, version, ACTOR)
                end = monotonic_ns()
            self.count_errors(load.records.errors)
            self.figures.rollouts.append(ended)
            self.figures.shares.append(report.measure(f"rollout of {version}", load.records, begin, end))
            say(f"   version {version}: {ended.state} after {ended.seconds:.1f} s; version {ended.live} is live")
            say(f"     {ended.reason}")
        say(report.phase_table(self.figures.shares))

    def count_errors(self, errors: dict[str, int]) -> None:
        for error, count in errors.items():
            self.figures.errors[error] = self.figures.errors.get(error, 0) + count


def change(channel: grpc.Channel, label: str, before: int, after: int) -> Change:
    """A timed admin call: a deploy of `after` if it is the higher version, else a rollback."""
    stub = AdminStub(channel)  # type: ignore[no-untyped-call]  # generated code
    deploy = admin_pb2.DeployRequest(model=MODEL, version=after, reason="better on the holdout")
    rollback = admin_pb2.RollbackRequest(model=MODEL, reason="to show it")
    started = monotonic_ns()
    if after > before:
        stub.Deploy(deploy, timeout=CHANGE_S, metadata=ACTOR)
    else:
        stub.Rollback(rollback, timeout=CHANGE_S, metadata=ACTOR)
    return Change(label, before, after, started, monotonic_ns())


def type_of_classifier(name: str) -> str:
    return type(train.build(name, train.read()[0])[-1]).__name__


def command(*arguments: str) -> None:
    """Runs `onnxpress ...`, showing it and what it prints. Raises RuntimeError when it fails."""
    say("   $ onnxpress " + " ".join(arguments))
    done = subprocess.run([ONNXPRESS, *arguments], capture_output=True, text=True, check=False)
    say("".join(f"     {line}\n" for line in done.stdout.splitlines()).rstrip())
    if done.returncode:
        raise RuntimeError(f"onnxpress {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")


def say(text: str) -> None:
    print(text, flush=True)


def clean(folder: Path) -> None:
    """Empties the folder. Raises ValueError when it holds files that no demo wrote."""
    if folder.exists():
        if any(folder.iterdir()) and not (folder / MARKER).exists():
            raise ValueError(f"{folder} holds files that are not from this demo: choose another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="examples.churn",
        description="Train, convert, serve, call, measure, swap, roll back, roll out; exit code 1 when a check fails.",
    )
    parser.add_argument("--folder", type=Path, default=Path("out/demo"), help="where everything is written")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement (default 4)")
    parser.add_argument("--processes", type=int, default=2, help="client processes (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args(argv)
    try:
        clean(arguments.folder)
        figures = Demo(arguments.folder, arguments.seconds, arguments.processes).run()
    except (RuntimeError, ValueError, grpc.RpcError, subprocess.TimeoutExpired) as error:
        print(f"demo: failed: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        arguments.json.write_text(json.dumps(figures.as_dict(), indent=1) + "\n")
    found = report.problems(figures)
    for problem in found:
        say(f"BROKEN  {problem}")
    if not found:
        say(f"\nEvery promise held, in {figures.seconds:.0f} s.")
    return 1 if found else 0
