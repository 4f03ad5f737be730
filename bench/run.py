#!/usr/bin/env python3
"""Measures the release build and its peers in one run on this machine; prints a table (and writes build/bench.json).

    bench/run.py [--only start|cold|pods|idle|writes|serving|memory|containers]

Peers come from Debian: kube-apiserver and etcd when bench/peers.sh has made them, and crun. Rates are printed with the CPU seconds that the server
spent per operation, because load and server share the cores, and with the machine's own limits.
"""
import argparse
import base64
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/release"
sys.path.insert(0, str(ROOT / "tests/cluster"))
import images  # noqa: E402
from harness import BINARY, Cluster, eventually, run  # noqa: E402
import peers  # noqa: E402

RESULTS = []


def row(what, value, peer="", ratio="", budget="", unit=""):
    RESULTS.append({"what": what, "value": value, "peer": peer, "ratio": ratio, "budget": budget})
    show = f"{value:.2f}" if isinstance(value, float) else str(value)
    print(f"{what:<58} {show:>12} {unit:<8} {peer:<34} {ratio:<8} {budget}", flush=True)


def cpu_seconds(pid):
    """User and system time of a process and its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def private(pid):
    return sum(int(l.split()[1]) for l in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if l.startswith("Private_")) / 1024


def main_pid(node):
    return int((node.run_dir / "appliance.pid").read_text())


def write_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes"):
            return int(line.split()[1])


def credentials(c):
    """Files of the administrator's certificate, for the load generator."""
    import re
    text = (c.server.dir / "kubeconfig.yaml").read_text()
    for key, name in [("certificate-authority-data", "ca"), ("client-certificate-data", "cert"), ("client-key-data", "key")]:
        (c.dir / f"{name}.pem").write_bytes(base64.b64decode(re.search(key + r":\s*\"?([A-Za-z0-9+/=]+)", text).group(1)))
    return ["--server", f"https://{c.server.ip}:6443", "--ca", str(c.dir / "ca.pem"), "--cert", str(c.dir / "cert.pem"), "--key", str(c.dir / "key.pem")]


def load(side, *args):
    """Runs the generator; adds the CPU that the processes of a control plane spent on each operation, in microseconds."""
    pids = [*side.store, *side.rest]
    r = json.loads(side.cluster.outside(str(BUILD / "bench/bench_load"), *map(str, args), "--cpu-of", ",".join(map(str, pids)), *side.flags, timeout=900).stdout)
    store, rest = sum(r["cpu_of"][:len(side.store)]), sum(r["cpu_of"][len(side.store):])
    r["us"], r["rest_us"] = [cpu / max(1, r["operations"]) * 1e6 for cpu in (store, rest)]
    if r["errors"]:
        print("errors:", r["errors"], r["error"])
    return r


class Figures(dict):
    """What was measured of one control plane: by name the values, with their unit and budget. A lower value is better unless its unit is a rate."""

    def add(self, what, value, unit, budget="", rest=0.0):
        self[what] = (value, unit, budget, rest)

    def rate(self, what, r, budget="", cpu_budget="", per="operation", many=None):
        """Operations of a run of the generator; `many`: of what else it counted."""
        many = many or r["operations"]
        self.add(what, many * r["rate"] / max(1, r["operations"]), "/s", budget)
        share = r["operations"] / max(1, many)
        self.add(f"  CPU per {per}: {what}", r["us"] * share, "us", cpu_budget, r["rest_us"] * share)

    def memory(self, what, side, budget="", settle=5):
        time.sleep(settle)
        self.add(what, sum(map(pss, side.store)), "MB", budget, sum(map(pss, side.rest)))


def compare(part):
    """Measures a part of ours, then of the peer's, and prints them side by side: the peer's controllers and scheduler apart, ours included."""
    measured = []
    for kind in [peers.Ours, *([peers.Kubernetes] if peers.there() else [])]:
        measured.append(Figures())
        with peers.running(kind) as side:
            part(side, measured[-1])
    for what, (value, unit, budget, _) in measured[0].items():
        peer = ratio = ""
        if len(measured) > 1 and what in measured[1]:
            theirs, _, _, rest = measured[1][what]
            peer = f"{theirs:.2f} {unit}" + (f" (+ {rest:.0f})" if rest >= 1 else "")
            ratio = f"{(value / theirs if unit == '/s' else theirs / value):.1f}x" if theirs and value else ""
        row(what, value, peer, ratio, budget, unit=unit)


def limits():
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as d:
        l = json.loads(run(str(BUILD / "bench/bench_limits"), d).stdout)
    for name, v in l.items():
        row(f"machine: {name} p50", v["p50"], unit="ms")


def start_times():
    ready, node = [], []
    for _ in range(5):
        with Cluster(nodes=1) as c:
            begin = time.monotonic()
            c.server.start_server()
            url = f"https://{c.server.ip}:6443/readyz"
            while c.outside("curl", "-sk", "-m", "1", url, check=False).stdout != "ok":
                time.sleep(0.002)
            ready.append(time.monotonic() - begin)
            while not (c.server.run_dir / "ready").exists():
                time.sleep(0.002)
            node.append(time.monotonic() - begin)
    row("empty disk to /readyz, p50 of 5", statistics.median(ready), unit="s", budget="<= 0.1 (curl's own start included)")
    row("empty disk to node Ready, p50 of 5", statistics.median(node), unit="s", budget="<= 0.5")
    row("binary", os.path.getsize(BINARY) / 1e6, unit="MB", budget="<= 15")


def pods(c, image):
    """Creation to Running and ready, as a watching client sees it."""
    spec = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"app": "bench"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image, "command": ["sleep", "10000"]}]}}

    def until_ready(names):
        """Creates pods by one request each through a kept proxy connection; returns seconds for each."""
        import http.client
        creds = credentials(c)
        import ssl
        context = ssl.create_default_context(cafile=creds[3])
        context.check_hostname = False
        context.load_cert_chain(creds[5], creds[7])
        made, done = {}, {}
        watch = http.client.HTTPSConnection(c.server.ip, 6443, context=context)
        watch.request("GET", "/api/v1/namespaces/default/pods?watch=true&labelSelector=app%3Dbench")
        stream = watch.getresponse()
        api = http.client.HTTPSConnection(c.server.ip, 6443, context=context)
        for n in names:
            body = json.dumps({**spec, "metadata": {"name": n, "labels": {"app": "bench"}}})
            made[n] = time.monotonic()
            api.request("POST", "/api/v1/namespaces/default/pods", body, {"Content-Type": "application/json"})
            r = api.getresponse()
            r.read()
            assert r.status == 201, r.status
        while len(done) < len(names):
            e = json.loads(stream.readline())
            p = e["object"]
            n = p["metadata"]["name"]
            if n in made and n not in done and any(x["type"] == "Ready" and x["status"] == "True" for x in p["status"].get("conditions", [])):
                done[n] = time.monotonic()
        return [done[n] - made[n] for n in names], max(done.values()) - min(made.values())

    # This process enters the underlay so that it can talk to the server without a helper.
    if ctypes.CDLL(None, use_errno=True).setns(os.open(f"/run/netns/{c.switch}", os.O_RDONLY), 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    until_ready(["warm"])
    times = sorted(until_ready([f"one-{i}"])[0][0] for i in range(30))
    row("pod created to ready, image present, p50 of 30", times[15] * 1000, unit="ms", budget="<= 30")
    row("pod created to ready, image present, p99 of 30", times[-1] * 1000, unit="ms", budget="<= 100")
    _, total = until_ready([f"many-{i}" for i in range(50)])
    row("50 pods at once, all ready", total, unit="s", budget="100 pods <= 2.5")
    supervisors = [p for p in pathlib.Path("/proc").glob("[0-9]*") if b"pod-supervisor" in (p / "cmdline").read_bytes()[:200] or b"appliance-pod" in (p / "cmdline").read_bytes()[:200]]
    if supervisors:
        row("supervisor, private memory, mean", statistics.mean(private(p.name) for p in supervisors), unit="MB", budget="<= 0.3")
    c.kubectl("delete", "pods", "-l", "app=bench", "--wait=true", timeout=120)


def idle(c):
    for node, budget in ((c.nodes[0], "<= 40"), (c.nodes[1], "<= 15")):
        row(f"{node.role}, idle, PSS", pss(main_pid(node)), unit="MB", budget=budget)
    time.sleep(5)
    pids = [main_pid(n) for n in c.nodes]
    before = [(cpu_seconds(p), write_bytes(p)) for p in pids]
    time.sleep(60)
    for node, pid, (cpu, written) in zip(c.nodes, pids, before):
        row(f"{node.role}, idle for 60 s, CPU", (cpu_seconds(pid) - cpu) / 60 * 100, unit="% core", budget="<= 0.2" if node.role == "server" else "")
        row(f"{node.role}, idle for 60 s, written", (write_bytes(pid) - written) / 1024, unit="KiB", budget="0")


def fill(side, pods):
    """Pods, and what kubelets say of them."""
    return load(side, "--mode", "pods", "--path", "node-", "--clients", 64, "--count", pods), load(side, "--mode", "status", "--clients", 64, "--count", pods)


def pods_url(query=""):
    return "/api/v1/namespaces/default/pods" + query


PROTOBUF = "application/vnd.kubernetes.protobuf"


def writes(side, f):
    f.rate("durable creates of a ConfigMap, 1 client", load(side, "--mode", "create", "--clients", 1, "--seconds", 5))
    f.rate("durable creates of a ConfigMap, 64 clients", load(side, "--mode", "create", "--clients", 64, "--seconds", 5), ">= 8x", ">= 8x")
    for mode, what in (("update", "updates (PUT) of a ConfigMap"), ("patch", "strategic merge patches of a PodTemplate"), ("apply", "server-side applies of a PodTemplate")):
        f.rate(f"{what}, 64 clients", load(side, "--mode", mode, "--clients", 64, "--seconds", 5))


def serving(side, f):
    """GETs, lists and watches with 5,000 pods in the cluster."""
    fill(side, 5000)
    time.sleep(5)
    for what, query, accept, budget in (("lists of 5,000 pods, JSON", "", "application/json", ">= 10x"), ("lists of 5,000 pods, protobuf", "", PROTOBUF, ">= 10x"),
                                        ("lists of 5,000 pods, any version (cache), JSON", "?resourceVersion=0", "application/json", ">= 10x"),
                                        ("lists of 5,000 pods, any version (cache), protobuf", "?resourceVersion=0", PROTOBUF, ">= 10x"),
                                        ("lists of 50 of 5,000 pods by label", "?labelSelector=app%3Dweb-7", "application/json", ""),
                                        ("lists of 50 of 5,000 pods by node", "?fieldSelector=spec.nodeName%3Dnode-7", "application/json", ""),
                                        ("first page of 500 of 5,000 pods", "?limit=500", "application/json", "")):
        f.rate(what, load(side, "--mode", "get", "--path", pods_url(query), "--clients", 4, "--seconds", 6, "--accept", accept), cpu_budget=budget, per="list")
    one = pods_url("/web-1-5d69f7bc9c-00001")
    f.rate("GET of one pod, 16 clients", load(side, "--mode", "get", "--path", one, "--clients", 16, "--seconds", 5), cpu_budget=">= 10x", per="GET")
    for accept, form in (("application/json", "JSON"), (PROTOBUF, "protobuf")):
        held = sum(map(pss, side.store))
        idle = side.cluster.background(str(BUILD / "bench/bench_load"), "--mode", "watch", "--path", pods_url(), "--watchers", "500", "--clients", "1", "--rate", "0.1",
                                       "--size", "5000", "--seconds", "9", "--accept", accept, *side.flags, stdout=subprocess.DEVNULL)
        time.sleep(8)
        together = sum(map(pss, side.store))
        f.add(f"5,000 pods and 500 watches, {form}: PSS", together, "MB", "", sum(map(pss, side.rest)))
        f.add(f"  an idle watch, {form}, its TLS connection included", (together - held) / 500 * 1024, "KiB")
        idle.wait()
        watch = lambda rate: load(side, "--mode", "watch", "--path", pods_url(), "--watchers", 500, "--clients", 64, "--rate", rate, "--size", 5000, "--seconds", 8, "--accept", accept)
        for rate, how in ((20, "20 writes/s by 64 clients"), (0, "as many writes as 64 clients can")):
            r = watch(rate)
            f.rate(f"events to 500 watches, {how}, {form}", r, cpu_budget=">= 10x", per="event", many=r["events"])
            f.add(f"  watches closed as too slow, {how}, {form}", r["lost"], "")
    # What 500 kubelets would do: each follows the pods of its node.
    by_node = load(side, "--mode", "watch", "--path", pods_url("?fieldSelector=spec.nodeName%3Dnode-{}"), "--spread", 100, "--watchers", 500, "--clients", 64, "--rate", 400,
                   "--size", 5000, "--seconds", 8)
    f.rate("400 status patches/s, 500 watches by node", by_node, per="patch, its 5 events included")
    f.memory("5,000 pods, after all this: PSS", side)


def memory(side, f):
    made, status = fill(side, 10000)
    f.rate("10,000 pods created, 64 clients", made, per="pod")
    f.rate("10,000 pod statuses patched, 64 clients", status, per="patch")
    f.memory("10,000 pods, at once: PSS", side, settle=0)
    f.memory("10,000 pods, a little later: PSS", side, ">= 8x", settle=15)
    side.stop()
    side.spawn()
    side.complete()
    f.memory("10,000 pods, after a restart: PSS", side, settle=20)
    one = json.loads(side.kubectl("get", "--raw", pods_url("?limit=1")).stdout)["items"][0]
    f.add("  one pod, JSON", len(json.dumps(one, separators=(",", ":"))) / 1024, "KiB")


def cold(side, f):
    """Start with 10,000 objects in the database."""
    fill(side, 4000)
    for path in ("configmaps", "secrets"):
        load(side, "--mode", "create", "--path", path, "--clients", 64, "--count", 3000)
    times = []
    for _ in range(5):
        side.stop()
        begin = time.monotonic()
        side.spawn()
        while not side.ready():
            time.sleep(0.005)
        times.append(time.monotonic() - begin)
        time.sleep(1)
    f.add("start with 10,000 objects to /readyz, p50 of 5", statistics.median(times), "s", "<= 1 (curl's own start included)")


CRUN_LOOP = """
import json, os, statistics, subprocess, sys, time
directory = sys.argv[1]
def crun(*arguments):
    subprocess.run(["crun", "--root", directory + "/state", *arguments], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
starts, cycles = [], []
for i in range(40):
    name = f"bench-{os.getpid()}-{i}"
    begin = time.monotonic()
    crun("create", "-b", directory, name)
    crun("start", name)
    starts.append(time.monotonic() - begin)
    crun("delete", "-f", name)
    begin = time.monotonic()
    crun("run", "-b", directory, name + "-run")
    cycles.append(time.monotonic() - begin)
print(json.dumps({"start": statistics.median(starts) * 1000, "cycle": statistics.median(cycles) * 1000}))
"""


def containers():
    """Start, run and end of /bin/busybox true from an unpacked image, next to crun's."""
    program = BUILD / "bench/bench_container"
    if not program.exists():
        print("containers: bench_container is not built")
        return
    ours = json.loads(run(str(program), timeout=120).stdout)
    with tempfile.TemporaryDirectory() as d:
        bundle = pathlib.Path(d)
        (bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy("/bin/busybox", bundle / "rootfs/bin/busybox")
        run("crun", "spec", "-b", d)
        config = json.loads((bundle / "config.json").read_text())
        config["process"].update(terminal=False, args=["/bin/busybox", "true"])
        config["linux"].pop("resources", None)
        config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "cgroup"]
        config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
        (bundle / "config.json").write_text(json.dumps(config))
        # crun refuses the hybrid of both cgroup versions: in a mount namespace of its own it sees version 2 alone.
        r = run("unshare", "-m", "sh", "-c", "mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"", "-", sys.executable, "-c", CRUN_LOOP, d, timeout=120)
        theirs = json.loads(r.stdout)
    row("container start, p50", ours["start"]["p50"], f"crun create, start {theirs['start']:.1f} ms", f"{theirs['start'] / ours['start']['p50']:.1f}x", "<= 5", unit="ms")
    row("container start, run, end, p50", ours["cycle"]["p50"], f"crun run, delete {theirs['cycle']:.1f} ms", f"{theirs['cycle'] / ours['cycle']['p50']:.1f}x", unit="ms")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    want = lambda name: not only or only == name
    limits()
    if want("start"):
        start_times()
    if want("containers"):
        containers()
    for name, part in (("writes", writes), ("serving", serving), ("memory", memory), ("cold", cold)):
        if want(name):
            compare(part)
    if any(want(n) for n in ("pods", "idle")):
        with Cluster(nodes=2) as c:
            c.start_registry()
            image = c.push(images.busybox(c.dir / "busybox"), "busybox:1")
            c.start()
            if want("idle"):
                idle(c)
            if want("pods"):
                pods(c, image)  # last: this process changes its network
    (ROOT / "build/bench.json").write_text(json.dumps(RESULTS, indent=1))


if __name__ == "__main__":
    main()
