#!/usr/bin/env bash
# Serves a model on this machine and runs one suite against it: `make load`, or
#
#   ci/load.sh [light|heavy] SUITE [loadtest flags ...]
#
# The report lies in build/load/SUITE/. Exit: what the load test says (0 held, 1 broken, 2 usage, 4 invalid).
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
size=light
case ${1:-} in light | heavy) size=$1 && shift ;; esac
if (($# < 1)); then
    echo "usage: $0 [light|heavy] SUITE [loadtest flags ...]" >&2
    exit 2
fi
suite=$1
shift
python=${PYTHON:-python3}
work=$root/build/load
repository=$work/models-$size
mkdir -p "$work"
if [[ ! -e $repository/$size/1/manifest.json ]]; then
    rm -rf "$repository"
    "$python" "$root/ci/load_model.py" "$size" "$repository" || exit 2
fi
if [[ $suite == swap && ! -e $repository/$size/2/manifest.json ]]; then
    "$python" "$root/ci/load_model.py" "$size" "$repository" || exit 2
fi
packages=(--package "$repository/$size/1")
[[ $suite == swap ]] && packages+=(--package "$repository/$size/2")

log=$work/server.log
: >"$log"  # before the server starts: an earlier one's "ready" is not this one's
"$python" "$root/onnxpress.py" serve --repository "$repository" --host 127.0.0.1 --grpc-port 0 --http-port 0 \
    --admin-address 127.0.0.1:0 --drain-wait-s 0 --state-dir "$work/state" >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null' EXIT
until grep -q "ready: .*$size" "$log"; do
    if ! kill -0 $server 2>/dev/null; then
        tail -n 5 "$log" >&2
        exit 2
    fi
    sleep 0.2
done
read -r data admin < <(sed -n 's/.*listening: grpc \([0-9]*\), http [0-9]*, admin \([0-9]*\).*/\1 \2/p' "$log")
# The live version of a fresh repository is the highest; a test of one package is about that package.
"$python" "$root/onnxpress.py" deploy "$size" 1 --server "127.0.0.1:$admin" --reason "load test" >>"$log" || exit 2
export LOAD_TARGET=127.0.0.1:$data LOAD_PACKAGE=$repository/$size/1
if [[ $suite == capacity ]]; then
    bash "$root/ci/capacity.sh" "$@"
else
    "$python" "$root/onnxpress.py" loadtest "$suite" --target "$LOAD_TARGET" --admin "127.0.0.1:$admin" \
        "${packages[@]}" --report-dir "$work/$suite" "$@"
fi
