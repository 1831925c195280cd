#!/usr/bin/env bash
# Leases of cards, tried on a machine with at least two: two stages at once on two cards while a third waits, a stage
# that needs both takes both or none and is not overtaken, a killed engine's orphan keeps its card, a stranger is seen,
# two stages share a card by their budgets.
#
#   tests/gpu_leases.sh PIPE            # the program; needs nothing else but bash, and python3 for real load
#
# Without CUDA (a stand-in for the driver's library by PIPE_NVML) stages sleep and the stranger is left out.
# Prints one line a check; ends with 1 if one failed.
set -u
pipe=$(realpath "$1")
root=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$root"' EXIT
export PIPE_GPU_BOARD="$root/board"
unset CUDA_VISIBLE_DEVICES SLURM_JOB_GPUS SLURM_STEP_GPUS
cd "$root" || exit 1
mkdir pipelines
failed=0
check() { # WORDS CONDITION…
    local words=$1; shift
    if "$@"; then echo "good  $words"; else echo "BAD   $words"; failed=1; fi
}
now() { date +%s.%N; }
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a < b) }'; }

cat > spin.py <<'PY'
# spin.py SECONDS OUT [WORD]: keeps the first visible card at work and writes when, and on what.
import ctypes, os, sys, time
seconds, out = float(sys.argv[1]), sys.argv[2]
began, sort = time.time(), "slept"
PTX = b""".version 7.0
.target sm_70
.address_size 64
.visible .entry spin(.param .u64 n) {
  .reg .u64 %a<4>;
  .reg .pred %p<2>;
  ld.param.u64 %a0, [n];
  mov.u64 %a1, %clock64;
AGAIN:
  mov.u64 %a2, %clock64;
  sub.u64 %a3, %a2, %a1;
  setp.lt.u64 %p0, %a3, %a0;
  @%p0 bra AGAIN;
  ret;
}
\0"""
def good(code, what):
    if code:
        raise RuntimeError(f"{what}: CUDA error {code}")
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    cuda = None
if cuda is None:
    time.sleep(seconds)
else:
    sort = "worked"
    device, context, module, kernel = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    good(cuda.cuInit(0), "init")
    good(cuda.cuDeviceGet(ctypes.byref(device), 0), "device")
    good(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), "context")
    good(cuda.cuCtxSetCurrent(context), "context")
    good(cuda.cuModuleLoadData(ctypes.byref(module), PTX), "module")
    good(cuda.cuModuleGetFunction(ctypes.byref(kernel), module, b"spin"), "function")
    cycles = ctypes.c_uint64(100_000_000)
    words = (ctypes.c_void_p * 1)(ctypes.cast(ctypes.byref(cycles), ctypes.c_void_p))
    while time.time() - began < seconds:
        good(cuda.cuLaunchKernel(kernel, 132, 1, 1, 128, 1, 1, 0, None, words, None), "launch")
        good(cuda.cuCtxSynchronize(), "synchronize")
with open(out, "w") as f:
    f.write(f"{began:.3f} {time.time():.3f} {os.environ.get('CUDA_VISIBLE_DEVICES', '')} {sort}\n")
PY

stage() { # NAME CARDS SECONDS [MORE SETTINGS]
    cat <<T
[stage.$1]
kind = "command"
in = { spin = "./spin.py" }
config = { argv = ["python3", "{in.spin}", "$3", "{out.when}", "$1"], pass_env = ["LD_LIBRARY_PATH"], outputs = { when = "when" }, gpus = $2${4:+, $4} }
T
}
pipeline() { # NAME, stages on standard input
    { echo "name = \"$1\""; cat; } > "pipelines/$1.toml"
}
run() { "$pipe" run "$@" > "log-$1" 2>&1; }
field() { cut -d' ' -f"$2" "results/$1/when" 2>/dev/null; }
wait_for() { # SECONDS CONDITION…
    local until=$((SECONDS + $1)); shift
    while ! "$@"; do [ $SECONDS -ge $until ] && return 1; sleep 0.1; done
}
started() { grep -q "\"event\":\"stage-started\",\"stage\":\"$1\"" .pipe/runs/*/events.jsonl 2>/dev/null; }

echo "[cache]" > pipe.toml
cards=$("$pipe" gpu | grep -c '^GPU-')
"$pipe" gpu
[ "$cards" -ge 2 ] || { echo "not run: $cards card(s) here, and two are needed"; exit 77; }
one=$("$pipe" gpu | sed -n 's/^\(GPU-[^ ]*\).*/\1/p' | sed -n 1p)
two=$("$pipe" gpu | sed -n 's/^\(GPU-[^ ]*\).*/\1/p' | sed -n 2p)
export CUDA_VISIBLE_DEVICES="$one,$two"
load=$(python3 -c 'import ctypes; ctypes.CDLL("libcuda.so.1"); print("worked")' 2>/dev/null || echo slept)

echo "-- three stages for one card each, on two cards"
{ stage a 1 4; stage b 1 4; } | pipeline three; stage c 1 2 | pipeline third
run three &
wait_for 20 started a && wait_for 20 started b
run third & sleep 2
"$pipe" gpu | tee during
check "two cards are held" [ "$(grep -c '^GPU-.*held alone' during)" = 2 ]
check "each by a stage that is named" [ "$(grep -cE '^  held   by .(a|b). of run' during)" = 2 ]
check "the third waits with a ticket" grep -qE '^waiting  .c. of run' during
wait
check "all three ended well" [ -s results/three/a/when ] && [ -s results/three/b/when ] && [ -s results/third/c/when ]
ua=$(field three/a 3) ub=$(field three/b 3)
check "two at once had two cards, by UUID" [ "$ua" != "$ub" ]
check "they ran at once" less "$(field three/b 1)" "$(field three/a 2)"
first_end=$(printf '%s\n%s\n' "$(field three/a 2)" "$(field three/b 2)" | sort -g | head -1)
check "the third began when one was free" less "$first_end" "$(field third/c 1)"
check "the card was seen $load" grep -q "$load" results/three/a/when

echo "-- one that needs both takes both or none, and is not overtaken"
stage d 1 5 | pipeline single; stage both 2 2 | pipeline pair; stage late 1 1 | pipeline late
run single & wait_for 20 started d
run pair & wait_for 20 sh -c "grep -qs both $PIPE_GPU_BOARD/ticket-*"; sleep 1
run late & sleep 1.5
"$pipe" gpu | tee during
check "the other card stays free for it" [ "$(grep -c '^GPU-.*free' during)" = 1 ]
check "both wait, the pair first" [ "$(grep '^waiting' during | sed 's/^waiting  .\([a-z]*\). .*/\1/' | tr '\n' ' ')" = "both late " ]
wait
check "it had both" [ "$(field pair/both 3)" = "$one,$two" ] || [ "$(field pair/both 3)" = "$two,$one" ]
check "it began after the first ended" less "$(field single/d 2)" "$(field pair/both 1)"
check "the later one was not first" less "$(field pair/both 2)" "$(field late/late 1)"

echo "-- an engine is killed and its stage goes on"
stage orphan 1 6 | pipeline orphan
"$pipe" run orphan > log-orphan 2>&1 & engine=$!
wait_for 20 started orphan; sleep 1.5
kill -9 $engine; wait $engine 2>/dev/null
"$pipe" gpu | tee during
check "its card is still held" [ "$(grep -c '^GPU-.*held alone' during)" = 1 ]
check "it is said that the engine is gone" grep -q 'that engine is gone' during
child=$(pgrep -f 'spin.*orphan' | head -1)
[ -n "$child" ] && kill -9 "$child"
killed=$(now)
wait_for 5 sh -c "! '$pipe' gpu | grep -q 'held alone'"
check "killed as well, the card is free within $(awk -v a="$killed" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }') s (a look at the board included)" \
    [ "$("$pipe" gpu | grep -c '^GPU-.*free')" = 2 ]

echo "-- two share a card by their budgets, a third does not fit"
budget() { echo "gpu_budget_mib = $1"; }
{ stage e 1 3 "$(budget 30000)"; stage f 1 3 "$(budget 40000)"; stage g 1 1 "$(budget 30000)"; } | pipeline shared
CUDA_VISIBLE_DEVICES=$one run shared &
wait_for 20 started e && wait_for 20 started f; sleep 1
"$pipe" gpu | tee during
check "one card is shared by two" [ "$(grep -c 'at most' during)" = 2 ]
wait
check "two were on it at once" less "$(field shared/f 1)" "$(field shared/e 2)"
check "the third waited" less "$(printf '%s\n%s\n' "$(field shared/e 2)" "$(field shared/f 2)" | sort -g | head -1)" "$(field shared/g 1)"

if [ "$load" = worked ]; then
    echo "-- a measurement beside a stranger"
    printf '[cache]\n[gpu]\nretries = 0\nwait_s = 1.5\n' > pipe.toml
    stage h 1 3 'sort = "measured"' | pipeline measured
    CUDA_VISIBLE_DEVICES=$one python3 spin.py 12 stranger &
    sleep 2.5
    "$pipe" gpu
    CUDA_VISIBLE_DEVICES=$one "$pipe" run measured 2>&1 | tee log-measured
    check "it waited, and was told for what" grep -q 'to leave' .pipe/runs/*/events.jsonl
    "$pipe" show measured h > shown 2>&1 || CUDA_VISIBLE_DEVICES=$one "$pipe" show measured h > shown 2>&1
    CUDA_VISIBLE_DEVICES=$one "$pipe" show measured h | tee shown
    if grep -q '"strangers":\[{' shown; then
        check "the sample is kept and marked" grep -q 'disturbed = ' shown
    else
        check "numbers of processes mean nothing in this container, so it is told how many were seen" \
            grep -q '"unplaced_processes":[1-9]' shown
    fi
    check "the card was seen at work" grep -qE '"worked_share":(1|0\.[1-9])' shown
    wait
fi
[ $failed = 0 ] && echo "all good" || tail -n 20 log-*
exit $failed
