#!/usr/bin/env bash
# Serves a model on this machine and runs one suite against it: `make load`, or
#
#   ci/load.sh [--apart] [light|heavy] SUITE [loadtest flags ...]
#
# SUITE is one of `onnxpress loadtest`, or `capacity`: the ramp compared with h2load (benchmarks/capacity.py).
# --apart: the server on the first half of this machine's cores, the generator on the others. Without it the generator
# takes CPU from the server, and a capacity, or an overload at many times the capacity, is not measured correctly.
# The report is in build/load/SUITE/. Exit: that of the load test (0 held, 1 broken, 2 usage, 4 invalid).
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
size=light
server_cores=() generator_cores=()
if [[ ${1:-} == --apart ]]; then
    shift
    cores=$(nproc)
    if ((cores < 2)); then
        echo "$0: --apart needs two cores, this machine has one" >&2
        exit 2
    fi
    server_cores=(taskset --cpu-list "0-$((cores / 2 - 1))")
    generator_cores=(taskset --cpu-list "$((cores / 2))-$((cores - 1))")
fi
case ${1:-} in light | heavy) size=$1 && shift ;; esac
if (($# < 1)); then
    echo "usage: $0 [--apart] [light|heavy] SUITE [loadtest flags ...]" >&2
    exit 2
fi
suite=$1
shift
python=${PYTHON:-python3}
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}  # for the modules of benchmarks/
work=$root/build/load
repository=$work/models-$size
mkdir -p "$work"
if [[ ! -e $repository/$size/1/manifest.json ]]; then
    rm -rf "$repository"
    "$python" -m benchmarks.load_model "$size" "$repository" || exit 2
fi
if [[ $suite == swap && ! -e $repository/$size/2/manifest.json ]]; then
    "$python" -m benchmarks.load_model "$size" "$repository" || exit 2
fi
packages=(--package "$repository/$size/1")
[[ $suite == swap ]] && packages+=(--package "$repository/$size/2")

log=$work/server.log
: >"$log"  # before the server starts, so that the "ready" of an earlier one is not read
"${server_cores[@]}" "$python" -m onnxpress serve --repository "$repository" --host 127.0.0.1 \
    --grpc-port 0 --http-port 0 --admin-address 127.0.0.1:0 --drain-wait-s 0 --state-dir "$work/state" >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null' EXIT
memory() {
    awk -v name="$1:" '$1 == name { print int($2 / 1024) }' "/proc/$server/status"
}
until grep -q "ready: .*$size" "$log"; do
    if ! kill -0 $server 2>/dev/null; then
        tail -n 5 "$log" >&2
        exit 2
    fi
    sleep 0.2
done
read -r data admin < <(sed -n 's/.*listening: grpc \([0-9]*\), http [0-9]*, admin \([0-9]*\).*/\1 \2/p' "$log")
# In a fresh repository the highest version is live; the load test is about version 1.
"$python" -m onnxpress deploy "$size" 1 --server "127.0.0.1:$admin" --reason "load test" >>"$log" || exit 2
ready_mib=$(memory VmRSS)
target=127.0.0.1:$data
if [[ $suite == capacity ]]; then
    "${generator_cores[@]}" "$python" -m benchmarks.capacity --target "$target" --package "$repository/$size/1" "$@"
else
    "${generator_cores[@]}" "$python" -m onnxpress loadtest "$suite" \
        --target "$target" --admin "127.0.0.1:$admin" "${packages[@]}" --report-dir "$work/$suite" "$@"
fi
exit_code=$?
echo "server: $ready_mib MiB when ready, $(memory VmHWM) MiB at most"
exit $exit_code
