#!/usr/bin/env bash
# Two engines on two machines over one cache on a real NFS server: what one computes is a hit for the other; a stage that
# both want is computed once; a machine that dies in the middle of a stage is replaced by the other; the server may go
# away and come back.
#
#   tests/nfs.sh PIPE [DATA]       # DATA/nfs holds start-nfs.sh and the others (default: $PIPE_TEST_DATA); needs root
#
# Prints one line a check; ends with 1 if one failed, with 77 where no server can be started.
set -u
pipe=$(realpath "$1")
nfs=${2:-${PIPE_TEST_DATA:-}}/nfs
[ -x "$nfs/start-nfs.sh" ] || { echo "not run: set PIPE_TEST_DATA to a directory that holds nfs/start-nfs.sh"; exit 77; }
root=$(mktemp -d /var/tmp/pipe-nfs.XXXXXX)
"$nfs/start-nfs.sh" "$root/nfs" > "$root/start.log" 2>&1 || { echo "not run: no NFS here"; tail -3 "$root/start.log"; exit 77; }
trap '"$nfs/stop-nfs.sh" "$root/nfs" --remove > /dev/null 2>&1; rm -rf "$root"' EXIT
failed=0
check() { # WORDS CONDITION…
    local words=$1; shift
    if "$@"; then echo "good  $words"; else echo "BAD   $words"; failed=1; fi
}
cache="$root/nfs/mnt/cache"
project() { # NAME: its own directory on this machine's disk, the cache on the server
    mkdir -p "$root/$1/pipelines"
    echo "[cache]" > "$root/$1/pipe.toml"
    {
        echo 'name = "p"'
        for at in 1 2 3 4; do
            echo "[stage.s$at]"
            echo 'kind = "command"'
            [ $at -gt 1 ] && echo "in = { before = \"s$((at - 1)).out\" }"
            before=$([ $at -gt 1 ] && echo 'cat {in.before};' || true)
            echo "config = { argv = [\"sh\", \"-c\", \"$before echo ran >> $root/$2; seq $at 4000 | tee {out.out} | sleep $3\"], outputs = { out = \"out\" } }"
        done
    } > "$root/$1/pipelines/p.toml"
}
on() { # CLIENT PROJECT WORDS…
    local client=$1 project=$2; shift 2
    "$nfs/nfs-exec.sh" "$root/nfs" "$client" sh -c "cd $root/$project && PIPE_CACHE=$cache $pipe $*"
}
ran() { wc -l < "$root/$1" 2>/dev/null || echo 0; }

echo "-- one after the other"
project one count 0; project two count 0
on a one run p > "$root/one.log" 2>&1; check "the first computes four stages" grep -q '4 done' "$root/one.log"
on b two run p > "$root/two.log" 2>&1; check "for the other they are hits" grep -q '4 hits' "$root/two.log"
check "each ran once" [ "$(ran count)" = 4 ]

echo "-- both at once, from nothing"
project three both 1; project four both 1
on a three run p > "$root/three.log" 2>&1 & first=$!
on b four run p > "$root/four.log" 2>&1 & second=$!
wait $first; a=$?; wait $second; b=$?
check "both end well ($a, $b)" [ "$a$b" = 00 ]
check "each stage ran once ($(ran both) runs of 4)" [ "$(ran both)" = 4 ]

echo "-- a machine dies in the middle of a stage"
project five dead 4; project six dead 4
on a five run p > "$root/five.log" 2>&1 & first=$!
for _ in $(seq 100); do [ "$(ran dead)" -ge 1 ] && break; sleep 0.2; done
"$nfs/nfs-fault.sh" "$root/nfs" a kill > /dev/null 2>&1; wait $first 2>/dev/null
began=$SECONDS
on b six run p > "$root/six.log" 2>&1; code=$?
check "the other takes over and ends well ($code, after $((SECONDS - began)) s: it waits 90 s for a silent holder)" [ $code = 0 ]
"$nfs/nfs-fault.sh" "$root/nfs" a boot > /dev/null 2>&1

echo "-- the server goes away and comes back"
project seven gone 2
on b seven run p > "$root/seven.log" 2>&1 & second=$!
for _ in $(seq 100); do [ "$(ran gone)" -ge 1 ] && break; sleep 0.2; done
"$nfs/nfs-fault.sh" "$root/nfs" server kill > /dev/null 2>&1; sleep 3
"$nfs/nfs-fault.sh" "$root/nfs" server start > /dev/null 2>&1
wait $second; code=$?
check "the run ends well ($code)" [ $code = 0 ]
on b seven verify > "$root/verify.log" 2>&1
check "nothing in the cache is damaged: $(tail -1 "$root/verify.log")" grep -q ' 0 damaged' "$root/verify.log"
[ $failed = 0 ] && echo "all good" || tail -n 15 "$root"/*.log
exit $failed
