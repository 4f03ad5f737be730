#!/usr/bin/env python3
"""Measures the release build and its peers in one run on this machine; prints a table (and writes build/bench.json).

    bench/run.py [--only start|cold|pods|idle|writes|serving|memory|containers]

Peers come from Debian: etcd (its HTTP gateway, fsync on the same disk), crun. Rates are printed with the CPU seconds that the server spent
per operation, because load and server share the cores, and with the machine's own limits.
"""
import argparse
import base64
import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import signal
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


def load(c, *args):
    """Runs the generator; returns its result and the server's CPU seconds per operation in microseconds."""
    pid = main_pid(c.server)
    before = cpu_seconds(pid)
    r = json.loads(c.outside(str(BUILD / "bench/bench_load"), *args, timeout=300).stdout)
    r["server_us"] = (cpu_seconds(pid) - before) / max(1, r["operations"]) * 1e6
    if r["errors"]:
        print("errors:", r["errors"], r["error"])
    return r


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


def nodes(c, count=100):
    """Nodes without a kubelet: those the pods of the load generator are bound to. The server waits for their heartbeats longer than a benchmark takes."""
    items = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{i}"}} for i in range(count)]
    c.kubectl("create", "-f", "-", "-o", "name", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


ALONE = ["--disable-agent", "--node-monitor-grace-period", "100000"]


@contextlib.contextmanager
def server_alone():
    """A server that runs no pods."""
    with Cluster(nodes=1) as c:
        c.server.start_server(*ALONE)
        eventually("server is ready", c.ready)
        nodes(c)
        yield c, credentials(c)


def fill(c, creds, pods, status=True):
    made = load(c, "--mode", "pods", "--path", "node-", "--clients", "64", "--count", str(pods), *creds)
    if status:
        return made, load(c, "--mode", "status", "--clients", "64", "--count", str(pods), *creds)
    return made, None


def pods_url(query=""):
    return "/api/v1/namespaces/default/pods" + query


def rated(what, r, budget="", peer="", ratio="", per="operation"):
    row(what, r["rate"], peer, ratio, budget, unit="/s")
    row(f"  server CPU per {per}", r["server_us"], unit="us")


def memory():
    with server_alone() as (c, creds):
        made, status = fill(c, creds, 10000)
        rated("10,000 pods created, 64 clients", made, per="pod, controllers and scheduler included")
        rated("10,000 pod statuses patched, 64 clients", status, per="patch, controllers and scheduler included")
        row("server right after 10,000 pods, PSS", pss(main_pid(c.server)), unit="MB")
        time.sleep(5)
        row("server with 10,000 pods, PSS", pss(main_pid(c.server)), unit="MB", budget="<= 1/8 of apiserver+etcd")
        one = json.loads(c.kubectl("get", "--raw", pods_url("?limit=1")).stdout)["items"][0]
        row("  one pod, JSON", len(json.dumps(one, separators=(",", ":"))) / 1024, unit="KiB")


def cold():
    """Start with 10,000 objects in the database."""
    with server_alone() as (c, creds):
        fill(c, creds, 4000)
        for path in ("configmaps", "secrets"):
            load(c, "--mode", "create", "--path", path, "--clients", "64", "--count", "3000", *creds)
        pid = main_pid(c.server)
        c.server.kill(signal.SIGTERM)
        ready, node = [], []
        for i in range(5):
            c.server.arguments = [a for a in c.server.arguments if a != "--disable-agent"]
            (c.server.run_dir / "ready").unlink(missing_ok=True)
            begin = time.monotonic()
            c.server.spawn()
            while c.outside("curl", "-sk", "-m", "1", f"https://{c.server.ip}:6443/readyz", check=False).stdout != "ok":
                time.sleep(0.005)
            ready.append(time.monotonic() - begin)
            while not (c.server.run_dir / "ready").exists():
                time.sleep(0.005)
            node.append(time.monotonic() - begin)
            time.sleep(1)
            c.server.kill(signal.SIGTERM)
        row("start with 10,000 objects to /readyz, p50 of 5", statistics.median(ready), unit="s", budget="<= 1 (curl's own start included)")
        row("start with 10,000 objects to node Ready, p50 of 5", statistics.median(node), unit="s", budget="<= 1")


def writes():
    with server_alone() as (c, creds):
        etcd_dir = c.dir / "etcd"
        etcd = c.background("etcd", "--data-dir", str(etcd_dir), "--listen-client-urls", "http://127.0.0.1:22379", "--advertise-client-urls", "http://127.0.0.1:22379",
                            "--listen-peer-urls", "http://127.0.0.1:22380", "--log-level", "error", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually("etcd answers", lambda: c.outside("curl", "-fsS", "http://127.0.0.1:22379/health"))
        for clients in (1, 64):
            ours = load(c, "--mode", "create", "--clients", str(clients), "--seconds", "5", *creds)
            before = cpu_seconds(etcd.pid)
            theirs = json.loads(c.outside(str(BUILD / "bench/bench_load"), "--mode", "etcd-put", "--clients", str(clients), "--seconds", "5", "--server", "http://127.0.0.1:22379").stdout)
            their_us = (cpu_seconds(etcd.pid) - before) / max(1, theirs["operations"]) * 1e6
            row(f"durable creates over HTTPS, {clients} clients", ours["rate"], f"etcd put over HTTP {theirs['rate']:.0f}/s", f"{ours['rate'] / theirs['rate']:.1f}x",
                ">= 8x apiserver+etcd (917/s)" if clients == 64 else "", unit="/s")
            row(f"  p50, {clients} clients", ours["p50"], f"{theirs['p50']:.2f} ms", f"{theirs['p50'] / ours['p50']:.1f}x", unit="ms")
            row(f"  server CPU per create, {clients} clients", ours["server_us"], f"{their_us:.0f} us", f"{their_us / max(ours['server_us'], 0.1):.1f}x", unit="us")
        etcd.kill()
        for mode, what in (("update", "updates (PUT) of a ConfigMap"), ("patch", "strategic merge patches of a PodTemplate"), ("apply", "server-side applies of a PodTemplate")):
            rated(f"{what}, 64 clients", load(c, "--mode", mode, "--clients", "64", "--seconds", "5", *creds))


def serving():
    """Lists, GETs and watches with 5,000 pods in the cluster."""
    with server_alone() as (c, creds):
        fill(c, creds, 5000)
        get = lambda query, clients="4", accept="application/json": load(c, "--mode", "get", "--path", pods_url(query), "--clients", clients, "--seconds", "5", "--accept", accept, *creds)
        for what, query, accept in (("lists of 5,000 pods", "", "application/json"), ("lists of 5,000 pods, protobuf", "", "application/vnd.kubernetes.protobuf"),
                                    ("lists of 50 of 5,000 pods by label", "?labelSelector=app%3Dweb-7", "application/json"),
                                    ("lists of 50 of 5,000 pods by node", "?fieldSelector=spec.nodeName%3Dnode-7", "application/json"),
                                    ("lists of 5,000 pods, first page of 500", "?limit=500", "application/json")):
            r = get(query, accept=accept)
            row(what, r["rate"], f"{r['bytes'] / max(1, r['operations']) / 1e6:.2f} MB each", "", ">= 10x apiserver (10.8/s of 7,454)" if not query else "", unit="/s")
            row("  server CPU per list", r["server_us"] / 1000, unit="ms")
        rated("GET of one pod, 16 clients", get("/web-1-5d69f7bc9c-00001", "16"), ">= 10x apiserver (2,121/s)", per="GET")
        for accept, form in (("application/json", "JSON"), ("application/vnd.kubernetes.protobuf", "protobuf")):
            held = pss(main_pid(c.server))
            watch = c.background(str(BUILD / "bench/bench_load"), "--mode", "watch", "--path", pods_url(), "--watchers", "500", "--clients", "1", "--rate", "0.2", "--size", "5000",
                                 "--seconds", "4", "--accept", accept, *creds, stdout=subprocess.DEVNULL)
            time.sleep(3.5)
            row(f"memory per idle watch, {form}, TLS connection included", (pss(main_pid(c.server)) - held) / 500 * 1024, unit="KiB")
            watch.wait()
            r = load(c, "--mode", "watch", "--path", pods_url(), "--watchers", "500", "--clients", "64", "--rate", "100", "--size", "5000", "--seconds", "8", "--accept", accept, *creds)
            row(f"events to 500 watchers, 64 writers, {form}", r["events"] / 8, f"{r['lost']} watches lost", "", ">= 10x per CPU second", unit="/s")
            row("  server CPU per event", r["server_us"] * r["operations"] / max(1, r["events"]), unit="us")
        row("server with 5,000 pods, PSS", pss(main_pid(c.server)), unit="MB")


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
            part()
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
