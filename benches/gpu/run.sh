#!/usr/bin/env bash
# Everything that needs a card, in one go, on a machine with an NVIDIA driver and a CUDA 12 or 13 toolkit:
#
#   benches/gpu/run.sh [OUT]          builds the binary first where there is Rust
#   GPU=path/to/gpu benches/gpu/run.sh [OUT]
#
# Checks (against references, then again under compute-sanitizer where it is there), then the bench. Logs and JSON go
# to OUT (default: results/gpu). `QUICK=1` leaves the sanitizer out.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-results/gpu}
mkdir -p "$out"
if [ -z "${GPU:-}" ]; then
  cargo build --release -p stages --example gpu
  GPU=target/release/examples/gpu
fi
nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv | tee "$out/card.csv"
OUT=$out "$GPU" check 2>&1 | tee "$out/check.log"
if [ "${QUICK:-0}" = 0 ] && command -v compute-sanitizer >/dev/null; then
  for tool in memcheck synccheck; do
    SMALL=1 compute-sanitizer --tool "$tool" --error-exitcode 1 "$GPU" check 2>&1 | tee "$out/$tool.log"
  done
fi
OUT=$out "$GPU" bench 2>&1 | tee "$out/bench.log"
