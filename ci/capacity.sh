#!/usr/bin/env bash
# Two opinions on one server's capacity: h2load's closed loop and the ramp's open loop, with the same requests.
#
#   ci/load.sh heavy capacity [--rows N] [loadtest flags ...]
#
# Wants a quiet machine. Exit: 0 when the two are within 20 %, 1 when not, else what the ramp says.
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

from loadtests.packages import read_package
from loadtests.payloads import pool

package, rows, target = sys.argv[1:]
body = pool([read_package(pathlib.Path(package))], int(rows), None, seed=1, size=2)[1].body
pathlib.Path(target).write_bytes(b"\0" + len(body).to_bytes(4, "big") + body)
PYTHON
h2load -c 4 -m 4 -D 10 --warm-up-time 2 -H 'content-type: application/grpc' -H 'te: trailers' -d "$work/body" \
    "http://$LOAD_TARGET/inference.GRPCInferenceService/ModelInfer" | tee "$work/h2load.txt" | grep '^finished'
"$python" "$root/onnxpress.py" loadtest ramp --target "$LOAD_TARGET" --package "$LOAD_PACKAGE" --rows "$rows" \
    --rps 20 --duration 5 --samples-min 2000 --report-dir "$work/ramp" "$@" || exit $?
"$python" - "$work" <<'PYTHON'
import json, pathlib, re, sys

work = pathlib.Path(sys.argv[1])
said = (work / "h2load.txt").read_text()
theirs = float(re.search(r"finished in [\d.]+s, ([\d.]+) req/s", said).group(1))
codes = re.search(r"status codes: (\d+) 2xx", said).group(1)
ours = json.loads((work / "ramp" / "report.json").read_text())["ramp"]["capacity"]
print(f"capacity: ramp {ours:.1f}/s with every objective held, h2load {theirs:.1f}/s ({codes} answers), ratio {ours / theirs:.2f}")
sys.exit(0 if 0.8 <= ours / theirs <= 1.2 else 1)
PYTHON
