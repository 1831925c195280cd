#!/usr/bin/env python3
"""Runs the scenarios of the synthetic DAGs (gen.py) on installed engines.

    bench.py --work DIR --engines ninja,dvc --shapes wide,layered --sizes 100,1000 \
             [--jobs 2] [--reps 3] [--cap 600] [--json OUT.jsonl]

Scenarios, in this order (each "run" is one invocation of the engine):
  first    fresh directory, nothing built
  noop     nothing changed
  noop-cold  the same after the engine's daemon was shut down (Bazel)
  leaf     one last-layer stage's side input edited      (1 stage must run)
  root     in/root.txt edited, stage 0's output changes  (N stages must run)
  touch    in/root.txt's mtime alone changed             (0 would do)
  cutoff   a comment of in/root.txt edited; stage 0's output keeps its bytes (1 would do)
  revert   in/root.txt put back to bytes seen before     (0 would do with a history cache)
  outdel   one output removed                            (0 would do with an output cache)
One JSON line per invocation: wall seconds, CPU seconds and peak RSS of the largest process
(os.wait4, so waited-for descendants), stages that ran (RUNLOG), load average before it.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gen

TIME = shutil.which("time")

def run(argv, cwd, cap):
    load = os.getloadavg()[0]
    t0 = time.monotonic()
    out = open(cwd + ".out", "wb")
    tfile = cwd + ".time"
    if TIME:  # our own RSS would be the floor of ru_maxrss otherwise (kept across exec)
        argv = [TIME, "-f", "%M", "-o", tfile] + argv
    p = subprocess.Popen(argv, cwd=cwd, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                         start_new_session=True)
    timed = False
    try:
        while True:
            pid, status, ru = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - t0 > cap:
                timed = True
                os.killpg(p.pid, signal.SIGKILL)  # our own session's group only
                pid, status, ru = os.wait4(p.pid, 0)
                break
            time.sleep(0.0005 if time.monotonic() - t0 < 2 else 0.01)
    except BaseException:  # interrupted: leave no engine behind
        os.killpg(p.pid, signal.SIGKILL)
        raise
    wall = time.monotonic() - t0
    p.returncode = 0
    rc = os.waitstatus_to_exitcode(status)
    rss = ru.ru_maxrss
    if TIME and not timed:
        try:
            rss = int(open(tfile).read().split()[-1])
        except (OSError, ValueError, IndexError):
            pass
    return dict(wall=round(wall, 4), cpu=round(ru.ru_utime + ru.ru_stime, 3),
                rss_mb=round(rss / 1024, 1), rc=rc, timed_out=timed, load=round(load, 2))


def bazel_server_rss(argv, cwd):
    try:
        pid = subprocess.run(argv[:2] + ["info", "server_pid"], cwd=cwd, capture_output=True,
                             text=True, timeout=60).stdout.strip()
        for line in open(f"/proc/{pid}/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    except Exception:
        return None


def count(log):
    try:
        with open(log) as f:
            return sum(1 for _ in f)
    except FileNotFoundError:
        return 0


def put(path, text):
    with open(path, "w") as f:
        f.write(text)


def state_size(root):
    """Bytes and files that are neither in/ nor o/ nor the engine's description."""
    b = n = 0
    for top in (root, root + ".bazel", root + ".diskcache"):
        for d, ds, fs in os.walk(top):
            if top == root and d == root:
                ds[:] = [x for x in ds if x not in ("in", "o", ".git")]
            for f in fs:
                try:
                    s = os.lstat(os.path.join(d, f))
                except OSError:
                    continue
                b += s.st_blocks * 512
                n += 1
    return b, n


def bench(engine, shape, n, a, emit):
    root = os.path.join(os.path.abspath(a.work), f"{engine}-{shape}-{n}")
    rows = []

    def wipe():
        if engine.startswith("bazel") and os.path.isdir(root):
            subprocess.run([os.environ.get("BAZEL", "bazel"), f"--output_user_root={root}.bazel",
                            "shutdown"], cwd=root, capture_output=True)
        for p in (root, root + ".bazel", root + ".diskcache"):
            if os.path.isdir(p):
                subprocess.run(["chmod", "-R", "u+w", p])
                shutil.rmtree(p, ignore_errors=True)
        for p in (root + ".runlog", root + ".out", root + ".time"):
            if os.path.exists(p):
                os.remove(p)

    def step(scn, rep, expect=None):
        before = count(log)
        r = run(argv, root, a.cap)
        r.update(engine=engine, shape=shape, n=n, scenario=scn, rep=rep, ran=count(log) - before,
                 expect=expect, jobs=a.jobs)
        if engine.startswith("bazel"):
            r["server_rss_mb"] = bazel_server_rss(argv, root)
        rows.append(r)
        emit(r)
        time.sleep(0.05)
        return r

    def ok():
        r = rows[-1]
        return not r["timed_out"] and r["rc"] == 0

    stop = False
    first_wall = 0
    for rep in range(a.reps):
        wipe()
        argv, log, stages = gen.generate(engine, shape, n, root, a.jobs)
        time.sleep(0.1)
        r = step("first", rep, n)
        if not ok():
            stop = True
            break
        first_wall = r["wall"]
        if first_wall > a.slow:
            break  # one first run is enough when it is this slow
    if stop:
        tail = open(root + ".out", errors="replace").read()[-600:]
        print(f"!! {engine} {shape} {n}: {rows[-1]} {tail}", file=sys.stderr)
        wipe()
        return False
    last = stages[-1][0]
    reps = a.reps
    for rep in range(reps):
        r = step("noop", rep, 0)
        if r["wall"] > a.slow and rep:
            break
    if engine in gen.STATELESS:
        wipe()
        return True
    time.sleep(1.1)
    for rep in range(reps):
        put(f"{root}/in/{last}.txt", f"leaf {last} changed {rep}\n")
        r = step("leaf", rep, 1)
        if (r["wall"] > a.slow and rep) or not ok():
            break
    for rep in range(reps):
        time.sleep(0.05)
        put(f"{root}/in/root.txt", f"# comment 0\nroot {rep + 1}\n")
        r = step("root", rep, n)
        if r["wall"] > a.slow or not ok():
            break
    if engine.startswith("bazel") and ok():
        subprocess.run(argv[:2] + ["shutdown"], cwd=root, capture_output=True)
        step("noop-cold", 0, 0)
    if ok() and n <= a.probe_max:
        time.sleep(1.1)
        os.utime(f"{root}/in/root.txt")
        step("touch", 0, 0)
        time.sleep(0.1)
        cur = open(f"{root}/in/root.txt").read().replace("comment 0", "comment 1")
        put(f"{root}/in/root.txt", cur)
        step("cutoff", 0, 1)
        put(f"{root}/in/root.txt", "# comment 0\nroot 0\n")
        step("revert", 0, 0)
        out = f"{root}/o/{last}.txt"
        if engine.startswith("bazel"):
            out = f"{root}/bazel-bin/o/{last}.txt"
        if engine == "pipe":
            out = f"{root}/results/bench/s{last}/out"
        if os.path.lexists(out):
            if not os.path.islink(out):
                os.chmod(out, 0o644)
            os.remove(out)
            step("outdel", 0, 0)
    b, f = state_size(root)
    emit(dict(engine=engine, shape=shape, n=n, scenario="state", bytes=b, files=f))
    if not a.keep:
        wipe()
    return True


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", required=True, help="scratch directory (made, emptied per case)")
    p.add_argument("--engines", required=True)
    p.add_argument("--shapes", default="wide,layered")
    p.add_argument("--sizes", default="100,1000")
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument("--reps", type=int, default=3)
    p.add_argument("--cap", type=float, default=600, help="seconds per invocation")
    p.add_argument("--slow", type=float, default=60, help="past this many seconds, no further repeats")
    p.add_argument("--probe-max", type=int, default=1000,
                   help="largest N for touch, cutoff, revert and outdel")
    p.add_argument("--json", default="")
    p.add_argument("--keep", action="store_true")
    a = p.parse_args()
    os.makedirs(a.work, exist_ok=True)
    fh = open(a.json, "a") if a.json else None

    def emit(r):
        if fh:
            fh.write(json.dumps(r) + "\n")
            fh.flush()
        if r["scenario"] != "state":
            print(f"{r['engine']:13} {r['shape']:8} {r['n']:6} {r['scenario']:7} #{r['rep']} "
                  f"{r['wall']:9.3f}s cpu {r['cpu']:8.2f}s rss {r['rss_mb']:7.1f}M ran {r['ran']:6} "
                  f"rc {r['rc']}{' TIMEOUT' if r['timed_out'] else ''} load {r['load']}", flush=True)
        else:
            print(f"{r['engine']:13} {r['shape']:8} {r['n']:6} state   {r['bytes']/1e6:.2f} MB in {r['files']} files",
                  flush=True)

    for e in a.engines.split(","):
        for sh in a.shapes.split(","):
            for n in map(int, a.sizes.split(",")):
                if not bench(e, sh, n, a, emit):
                    break


if __name__ == "__main__":
    main()
