#!/usr/bin/env bash
# Two opinions on one server's capacity: h2load's closed loop and the ramp's open loop, with the same requests.
#
#   ci/load.sh --apart heavy capacity [--rows N] [loadtest flags ...]
#
# Apart, since the open loop's generator needs far more of a core than h2load. Evenly spaced arrivals, since a closed
# loop has no bursts either; `--arrivals poisson` says how much of the capacity bursts leave. Wants a quiet machine.
# Exit: 0 when the two are within 20 %, 1 when not, else what the ramp says.
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
: "${LOAD_TARGET:?}" "${LOAD_PACKAGE:?}"
rows=100
if [[ ${1:-} == --rows ]]; then
    rows=$2
    shift 2
fi
work=$root/build/load
mkdir -p "$work"
"$python" - "$LOAD_PACKAGE" "$rows" "$work/body" <<'PYTHON' || exit 2
import pathlib, sys

from onnxpress.loadtests.workload.packages import read_package
from onnxpress.loadtests.workload.payloads import pool

package, rows, target = sys.argv[1:]
body = pool([read_package(pathlib.Path(package))], int(rows), None, seed=1, size=2)[1].body
pathlib.Path(target).write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
PYTHON
# More calls at once than the server admits are refused, and a refusal is quick: such a run is no capacity. The highest
# rate among the runs whose every response carries an answer's bytes is.
rm -f "$work"/h2load-*.txt
for calls in 1 2 3 4 6 8; do
    h2load -c "$calls" -m 1 -D 5 --warm-up-time 1 -H 'content-type: application/grpc' -H 'te: trailers' \
        -d "$work/body" "http://$LOAD_TARGET/inference.GRPCInferenceService/ModelInfer" >"$work/h2load-$calls.txt"
    echo "h2load, $calls at once: $(grep '^finished' "$work/h2load-$calls.txt")"
done
"$python" -m onnxpress loadtest ramp --target "$LOAD_TARGET" --package "$LOAD_PACKAGE" --rows "$rows" \
    --rps 20 --duration 5 --samples-min 2000 --arrivals constant --resolution 0.05 \
    --report-dir "$work/ramp" "$@" || exit $?
"$python" - "$work" "$rows" <<'PYTHON'
import json, pathlib, re, sys

work, rows = pathlib.Path(sys.argv[1]), int(sys.argv[2])
rates = []
for path in sorted(work.glob("h2load-*.txt")):
    said = path.read_text()
    rate = float(re.search(r"finished in [\d.]+s, ([\d.]+) req/s", said).group(1))
    answers = int(re.search(r"status codes: (\d+) 2xx", said).group(1))
    data = int(re.search(r"\((\d+)\) data", said).group(1))
    # One float32 a row is the least that an answer holds; even one refusal in fifty would show.
    if answers and data / answers > 0.98 * 4 * rows:
        rates.append(rate)
if not rates:
    sys.exit("capacity: every run of h2load was refused")
theirs = max(rates)
ours = json.loads((work / "ramp" / "report.json").read_text())["ramp"]["capacity"]
print(f"capacity: ramp {ours:.1f}/s with every objective held, h2load {theirs:.1f}/s, ratio {ours / theirs:.2f}")
sys.exit(0 if 0.8 <= ours / theirs <= 1.2 else 1)
PYTHON
