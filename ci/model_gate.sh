#!/usr/bin/env bash
# The gate that a model passes before anybody deploys it: convert, verify, load test, sign-off.
#
#   ci/model_gate.sh MODEL SAMPLE NAME OUT [loadtest flags ...]
#
#   MODEL   what `onnxpress convert` takes: .ubj .json .txt .skops .joblib .pkl .onnx
#   SAMPLE  training rows, csv or parquet
#   NAME    the model's name
#   OUT     a folder for models/, report/, logs and signoff.json
#
# Flags go to `onnxpress loadtest steady`; without them: --rps 1000 --duration 60. CONVERT_FLAGS (words) go to convert,
# SERVE_FLAGS to serve. Objectives come from ./slo.toml. ONNXPRESS and PYTHON name the commands.
#
# Exit: 0 signed off, 1 refused (signoff.json names the stage and why), 2 usage, 4 the load test was no valid measurement.
set -uo pipefail

usage=2 invalid=4 ready_seconds=120
if (($# < 4)); then
    echo "usage: $0 MODEL SAMPLE NAME OUT [loadtest flags ...]" >&2
    exit $usage
fi
model=$1 sample=$2 name=$3 out=$4
shift 4
flags=("$@")
((${#flags[@]})) || flags=(--rps 1000 --duration 60)
onnxpress=${ONNXPRESS:-onnxpress}
python=${PYTHON:-python3}
read -ra convert_flags <<<"${CONVERT_FLAGS:-}"
read -ra serve_flags <<<"${SERVE_FLAGS:-}"
for file in "$model" "$sample"; do
    [[ -f $file ]] || { echo "model_gate: no file $file" >&2; exit $usage; }
done
mkdir -p "$out" || exit $usage
out=$(cd "$out" && pwd)
if [[ -e $out/models ]]; then
    echo "model_gate: $out/models exists; a sign-off is about one fresh package, so give an empty folder" >&2
    exit $usage
fi

stages=() server=""
stop_server() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null
        wait "$server" 2>/dev/null
        server=""
    fi
}
trap stop_server EXIT
trap 'exit 143' INT TERM

# sign_off VERDICT: writes signoff.json; what it says is read from the files, never typed here.
sign_off() {
    "$python" - "$out" "$name" "$1" "${stages[@]}" <<'PYTHON'
import datetime, hashlib, json, pathlib, sys

out, name, verdict, *stages = sys.argv[1:]
folder = pathlib.Path(out)
package = next(iter(sorted((folder / "models" / name).glob("[0-9]*"))), None)
document = {
    "format": 1,
    "model": name,
    "verdict": verdict,
    "finished_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    "version": int(package.name) if package else None,
    "sha256": {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(package.iterdir()) if file.is_file()
    } if package else {},
    "stages": [],
}
for stage in stages:
    title, code, seconds = stage.split(":")
    log = folder / f"{title}.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    document["stages"].append({
        "stage": title,
        "status": "passed" if code == "0" else "failed",
        "exit": int(code),
        "seconds": int(seconds),
        "reason": "" if code == "0" else (lines[-1] if lines else ""),
    })
report = folder / "report" / "report.json"
if report.exists():
    said = json.loads(report.read_text())
    document["load_test"] = {
        "verdict": said["verdict"],
        "invalid_reasons": said["invalid_reasons"],
        "broken": [check for check in said["checks"] if not check["held"]],
        **{key: said["total"][key] for key in ("due", "answered", "errors", "p50_ms", "p95_ms", "p99_ms")},
    }
    broken = [f"{check['where']}: {check['name']}" for check in document["load_test"]["broken"]]
    if document["stages"][-1]["exit"]:
        document["stages"][-1]["reason"] = "; ".join([*broken, *said["invalid_reasons"]])
temporary = folder / "signoff.json.tmp"
temporary.write_text(json.dumps(document, indent=2) + "\n")
temporary.rename(folder / "signoff.json")
failed = [stage for stage in document["stages"] if stage["exit"]]
print(f"model_gate: {name}: {verdict}" + (f" at {failed[0]['stage']}: {failed[0]['reason']}" if failed else ""))
PYTHON
}

# stage TITLE COMMAND...: runs it, keeps its log, ends the gate when it fails.
stage() {
    local title=$1 began=$SECONDS code=0
    shift
    "$@" >"$out/$title.log" 2>&1 || code=$?
    stages+=("$title:$code:$((SECONDS - began))")
    if ((code)); then
        stop_server
        if [[ $title == load && $code == "$invalid" ]]; then
            sign_off invalid
            exit $invalid
        fi
        sign_off refused
        exit 1
    fi
}

serve() {
    : >"$out/server.log"
    "$onnxpress" serve --repository "$out/models" --host 127.0.0.1 --grpc-port 0 --http-port 0 \
        --admin-address 127.0.0.1:0 --drain-wait-s 0 ${serve_flags[@]+"${serve_flags[@]}"} >"$out/server.log" 2>&1 &
    server=$!
    local deadline=$((SECONDS + ready_seconds))
    until grep -q "ready: .*$name" "$out/server.log"; do
        if ! kill -0 "$server" 2>/dev/null || ((SECONDS > deadline)); then
            tail -n 5 "$out/server.log"
            return 1
        fi
        sleep 0.2
    done
    # A version that cannot be loaded is logged as an error; the server itself lives on for the others.
    if grep " ERROR " "$out/server.log"; then
        return 1
    fi
    port=$(sed -n 's/.*listening: grpc \([0-9]*\),.*/\1/p' "$out/server.log" | head -n 1)
    [[ -n $port ]]
}

stage convert "$onnxpress" convert "$model" --sample "$sample" --name "$name" --repository "$out/models" \
    ${convert_flags[@]+"${convert_flags[@]}"}
package=$(find "$out/models/$name" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' | head -n 1)
stage verify "$onnxpress" verify "$package"
stage serve serve
stage load "$onnxpress" loadtest steady --target "127.0.0.1:$port" --model "$name" --package "$package" \
    --report-dir "$out/report" --headless "${flags[@]}"
stop_server
sign_off "signed off"
