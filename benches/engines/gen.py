#!/usr/bin/env python3
"""Synthetic DAG generator: one DAG model, one adapter per engine.

    gen.py --engine ninja --shape layered --n 1000 --out DIR [--jobs 2]

Shapes (N = number of stages; every stage has a private side input in/<id>.txt):
  wide     stage 0 filters in/root.txt (drops '#' lines); stages 1..N-1 each
           read stage 0 and their side input.
  layered  stage 0 as above; stages 1..N-1 laid out in 10 layers of about N/10;
           a stage reads two stages of the layer before (layer 1 reads stage 0).

Every stage is `cat DEPS > OUT` plus one appended line in RUNLOG, so that a
runner can count which stages really ran.  Only the Python standard library is used.
"""
import argparse
import json
import os
import sys

LAYERS = 10


def dag(shape, n):
    """[(id, [stage deps], [source inputs], out)] in topological order."""
    st = [(0, [], ["in/root.txt"], "o/0.txt")]
    if shape == "wide":
        for i in range(1, n):
            st.append((i, [0], [f"in/{i}.txt"], f"o/{i}.txt"))
        return st
    if shape != "layered":
        sys.exit(f"unknown shape {shape}")
    width = max(1, -(-(n - 1) // LAYERS))
    prev = [0]
    i = 1
    while i < n:
        cur = list(range(i, min(n, i + width)))
        for k, s in enumerate(cur):
            d = {prev[k % len(prev)], prev[(k + 1) % len(prev)]}
            st.append((s, sorted(d), [f"in/{s}.txt"], f"o/{s}.txt"))
        prev = cur
        i += width
    return st


def layers_of(st):
    """Barriers for the floor runner: list of lists of stages."""
    depth, out = {}, []
    for s in st:
        d = 1 + max((depth[x] for x in s[1]), default=-1)
        depth[s[0]] = d
        while len(out) <= d:
            out.append([])
        out[d].append(s)
    return out


def write(path, text):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as f:
        f.write(text)


def shell(s, log):
    i, deps, srcs, out = s
    files = " ".join(srcs + [f"o/{d}.txt" for d in deps])
    tool = "grep -v '^#'" if i == 0 else "cat"
    return f"{tool} {files} > {out}; echo {i} >> {log}"


def common(root, st):
    os.makedirs(f"{root}/o", exist_ok=True)
    write(f"{root}/in/root.txt", "# comment 0\nroot 0\n")
    for i, *_ in st[1:]:
        write(f"{root}/in/{i}.txt", f"leaf {i}\n")


# --- adapters: each returns the argv of "run the whole pipeline" -------------

def e_floor(root, st, log, jobs):
    """Not an engine: spawns every command with xargs, barrier per layer."""
    names = []
    for k, layer in enumerate(layers_of(st)):
        write(f"{root}/layer{k}.txt", "".join(shell(s, log) + "\0" for s in layer))
        names.append(f"layer{k}.txt")
    write(f"{root}/run.sh", "set -e\n" + "".join(
        f"xargs -0 -n1 -P{jobs} sh -c < {x}\n" for x in names))
    return ["sh", "run.sh"]


def e_make(root, st, log, jobs):
    t = ["all: " + " ".join(s[3] for s in st)]
    for s in st:
        deps = s[2] + [f"o/{d}.txt" for d in s[1]]
        t.append(f"{s[3]}: {' '.join(deps)}\n\t@{shell(s, log)}")
    write(f"{root}/Makefile", "\n".join(t) + "\n")
    return ["make", "-s", f"-j{jobs}"]


def e_ninja(root, st, log, jobs, exe="ninja"):
    t = ["rule r\n  command = $cmd\n"]
    for s in st:
        deps = s[2] + [f"o/{d}.txt" for d in s[1]]
        t.append(f"build {s[3]}: r {' '.join(deps)}\n  cmd = {shell(s, log)}\n")
    write(f"{root}/build.ninja", "\n".join(t) + "\n")
    return [exe, f"-j{jobs}"] + (["--quiet"] if exe == "ninja" else [])


def e_n2(root, st, log, jobs):
    return e_ninja(root, st, log, jobs, os.environ.get("N2", "n2"))


def e_dvc(root, st, log, jobs):
    t = ["stages:"]
    for s in st:
        deps = s[2] + [f"o/{d}.txt" for d in s[1]]
        cmd = json.dumps(shell(s, log))
        t.append(f"  s{s[0]}:\n    cmd: {cmd}\n    deps: [{', '.join(deps)}]\n    outs: [{s[3]}]")
    write(f"{root}/dvc.yaml", "\n".join(t) + "\n")
    exe = os.environ.get("DVC", "dvc")
    rc = os.system(f"cd {root} && {exe} init -q --no-scm -f && {exe} config core.analytics false"
                   f" && {exe} config core.check_update false")
    if rc:
        sys.exit("dvc init failed")
    return [exe, "repro", "-q"]


def e_dvc_locked(root, st, log, jobs):
    """DVC on a pipeline whose state we write ourselves (outputs, cache, dvc.lock): DVC's own first
    run of 1,000 stages takes far longer than the cap, and this still shows its no-op and leaf runs."""
    import hashlib
    import subprocess
    argv = e_dvc(root, st, log, jobs)
    subprocess.run(e_floor(root, st, log, jobs), cwd=root, check=True)
    memo = {}

    def info(path):
        if path not in memo:
            b = open(f"{root}/{path}", "rb").read()
            memo[path] = (hashlib.md5(b).hexdigest(), len(b))
        return memo[path]

    def item(path):
        m, n = info(path)
        return f"    - path: {path}\n      hash: md5\n      md5: {m}\n      size: {n}\n"

    t = ["schema: '2.0'\nstages:\n"]
    for s in st:
        deps = s[2] + [f"o/{d}.txt" for d in s[1]]
        t.append(f"  s{s[0]}:\n    cmd: {json.dumps(shell(s, log))}\n    deps:\n"
                 + "".join(item(d) for d in sorted(deps)) + "    outs:\n" + item(s[3]))
        m = info(s[3])[0]
        write(f"{root}/.dvc/cache/files/md5/{m[:2]}/{m[2:]}", open(f"{root}/{s[3]}").read())
    write(f"{root}/dvc.lock", "".join(t))
    return argv


def e_snakemake(root, st, log, jobs):
    write(f"{root}/deps.json", json.dumps(
        {s[0]: s[2] + [f"o/{d}.txt" for d in s[1]] for s in st}))
    write(f"{root}/Snakefile", f'''import json
D = json.load(open("deps.json"))
rule all:
    input: expand("o/{{i}}.txt", i=range({len(st)}))
rule root:
    input: "in/root.txt"
    output: "o/0.txt"
    shell: "grep -v '^#' {{input}} > {{output}}; echo 0 >> {log}"
rule step:
    input: lambda w: D[w.i]
    output: "o/{{i,[1-9][0-9]*}}.txt"
    shell: "cat {{input}} > {{output}}; echo {{wildcards.i}} >> {log}"
''')
    return [os.environ.get("SNAKEMAKE", "snakemake"), f"-c{jobs}", "--quiet", "all"]


def e_doit(root, st, log, jobs):
    write(f"{root}/stages.json", json.dumps(
        [(s[0], s[2] + [f"o/{d}.txt" for d in s[1]], s[3], shell(s, log)) for s in st]))
    write(f"{root}/dodo.py", '''import json
DOIT_CONFIG = {"verbosity": 0}
def task_s():
    for i, deps, out, cmd in json.load(open("stages.json")):
        yield {"name": str(i), "actions": [cmd], "file_dep": deps, "targets": [out]}
''')
    return [os.environ.get("DOIT", "doit"), "-n", str(jobs), "-r", "zero"]


def e_redun(root, st, log, jobs):
    write(f"{root}/stages.json", json.dumps(
        [(s[0], s[1], s[2], s[3], shell(s, log)) for s in st]))
    write(f"{root}/.redun/redun.ini",
          f"[backend]\ndb_uri = sqlite:///redun.db\n[executors.default]\ntype = local\nmax_workers = {jobs}\n")
    write(f"{root}/wf.py", '''import json, subprocess
from redun import task, File
redun_namespace = "bench"
@task()
def step(cmd: str, inputs: list, out: str) -> File:
    subprocess.run(["sh", "-c", cmd], check=True)
    return File(out)
@task(cache=False)
def main() -> list:
    res = {}
    for i, deps, srcs, out, cmd in json.load(open("stages.json")):
        res[i] = step(cmd, [File(p) for p in srcs] + [res[d] for d in deps], out)
    return list(res.values())
''')
    return [os.environ.get("REDUN", "redun"), "--log-level", "ERROR", "run", "wf.py", "main"]


def e_luigi(root, st, log, jobs):
    write(f"{root}/stages.json", json.dumps(
        {s[0]: (s[1], s[2], s[3], shell(s, log)) for s in st}))
    write(f"{root}/wf.py", '''import json, subprocess, luigi
S = json.load(open("stages.json"))
class Step(luigi.Task):
    sid = luigi.Parameter()
    def requires(self): return [Step(sid=str(d)) for d in S[self.sid][0]]
    def output(self): return luigi.LocalTarget(S[self.sid][2])
    def run(self): subprocess.run(["sh", "-c", S[self.sid][3]], check=True)
class All(luigi.WrapperTask):
    def requires(self): return [Step(sid=k) for k in S]
''')
    return ["env", "PYTHONPATH=.", os.environ.get("LUIGI", "luigi"), "--module", "wf", "All",
            "--local-scheduler", "--workers", str(jobs), "--log-level", "CRITICAL"]


def e_bazel(root, st, log, jobs):
    write(f"{root}/WORKSPACE", "")
    t = []
    for s in st:
        srcs = s[2] + [f":s{d}" for d in s[1]]
        tool = "grep -v '^#'" if s[0] == 0 else "cat"
        cmd = f"{tool} $(SRCS) > $@; echo {s[0]} >> {log}"
        t.append(f"genrule(name={json.dumps('s%d' % s[0])}, srcs={json.dumps(srcs)}, "
                 f"outs=[{json.dumps(s[3])}], cmd={json.dumps(cmd)})")
    write(f"{root}/BUILD", "\n".join(t) + "\n")
    return [os.environ.get("BAZEL", "bazel"), f"--output_user_root={root}.bazel", "build",
            f"--jobs={jobs}", "--spawn_strategy=local", "--noshow_progress", "--ui_event_filters=-info,-stdout,-stderr",
            "--show_result=0", "//:all"]


def e_bazel_disk(root, st, log, jobs):
    argv = e_bazel(root, st, log, jobs)
    return argv[:-1] + [f"--disk_cache={root}.diskcache", argv[-1]]


def e_moon(root, st, log, jobs):
    write(f"{root}/.moon/workspace.yml", "projects:\n  bench: '.'\ntelemetry: false\n"
          "vcs:\n  client: git\n  defaultBranch: main\n")
    t = ["tasks:"]
    for s in st:
        ins = s[2] + [f"o/{d}.txt" for d in s[1]]
        deps = [f"~:s{d}" for d in s[1]]
        t.append(f"  s{s[0]}:\n    script: {json.dumps(shell(s, log))}\n"
                 f"    deps: {json.dumps(deps)}\n    inputs: {json.dumps(ins)}\n"
                 f"    outputs: {json.dumps([s[3]])}\n    toolchains: ['system']")
    t.append(f"  all:\n    command: noop\n    deps: {json.dumps(['~:s%d' % s[0] for s in st])}")
    write(f"{root}/moon.yml", "\n".join(t) + "\n")
    write(f"{root}/.gitignore", "o/\n.moon/cache\n")
    os.system(f"cd {root} && git init -q -b main . && git add -A && "
              f"git -c user.name=b -c user.email=b@b commit -qm x")
    return [os.environ.get("MOON", "moon"), "run", "bench:all", "--quiet", "--concurrency", str(jobs)]


def e_pipe(root, st, log, jobs):
    """Ours: `command` stages; a project file as an input port, another stage's output as a wire."""
    t = ['name = "bench"\n']
    for i, deps, srcs, _ in st:
        ins = {"own": srcs[0]} | ({"before": [f"s{d}.out" for d in deps]} if deps else {})
        tool = "grep -v '^#'" if i == 0 else "cat"
        files = " ".join("{in.%s}" % name for name in ins)
        argv = ["sh", "-c", f"{tool} {files} > {{out.out}}; echo {i} >> {log}"]
        wires = ", ".join(f"{name} = {json.dumps(src)}" for name, src in ins.items())
        t.append(f'[stage.s{i}]\nkind = "command"\nin = {{ {wires} }}\n'
                 f'config = {{ argv = {json.dumps(argv)}, outputs = {{ out = "out" }} }}\n')
    write(f"{root}/pipe.toml", "")
    write(f"{root}/pipeline.toml", "\n".join(t))
    return [os.environ.get("PIPE", "pipe"), "run", "pipeline.toml", "--jobs", str(jobs), "--quiet"]


ENGINES = {k[2:].replace("_", "-"): v for k, v in globals().items() if k.startswith("e_")}
# engines that look only at whether a file exists (an edited input is not noticed)
EXISTENCE_ONLY = {"luigi"}
# engines that always run everything (no state)
STATELESS = {"floor"}


def generate(engine, shape, n, root, jobs=2, log=None):
    root = os.path.abspath(root)
    log = log or f"{root}.runlog"
    st = dag(shape, n)
    common(root, st)
    argv = ENGINES[engine](root, st, log, jobs)
    return argv, log, st


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--engine", required=True, choices=sorted(ENGINES))
    p.add_argument("--shape", required=True, choices=["wide", "layered"])
    p.add_argument("--n", type=int, required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--jobs", type=int, default=2)
    a = p.parse_args()
    argv, log, st = generate(a.engine, a.shape, a.n, a.out, a.jobs)
    edges = sum(len(s[1]) for s in st)
    print(json.dumps({"argv": argv, "runlog": log, "stages": len(st), "edges": edges}))
