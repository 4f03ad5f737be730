"""Clusters of several nodes on one host: each node is a network namespace with its own directories and cgroup root.

    with Cluster(nodes=2) as c:
        c.start()
        c.kubectl("get", "nodes")

The namespaces hang on one bridge in a namespace of its own (the "underlay"), which has a local registry and the clients.
Leaving the context removes every process, namespace, link, mount, cgroup and directory the cluster made, also after a failure.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = os.environ.get("APPLIANCE_BUILD", "release")  # a preset of CMakePresets.json
BINARY = os.environ.get("APPLIANCE_BINARY", str(ROOT / "build" / BUILD / "appliance"))
SLOWER = {"debug": 4, "tsan": 10}.get(BUILD, 1)  # how much longer things may take
KUBECTL_DIR = os.environ.get("KUBECTL_DIR", str(ROOT / "build/kubectl"))
KUBECTL = os.path.join(KUBECTL_DIR, "kubectl-1.32")
KUBECTL_OLD = os.path.join(KUBECTL_DIR, "kubectl-1.20")
# What a sanitizer prints first, on the standard error of the process: the node's log.
REPORT = re.compile(r"(?:ERROR|WARNING): (?:Address|Leak|Thread|UndefinedBehavior)Sanitizer|:\d+:\d+: runtime error: ")
V1_CONTROLLERS = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified"]


for sanitizer, options in (("ASAN", "detect_stack_use_after_return=0"), ("UBSAN", "print_stacktrace=1"), ("TSAN", "second_deadlock_stack=1")):
    os.environ.setdefault(sanitizer + "_OPTIONS", options)


class Failure(AssertionError):
    pass


def run(*argv, check=True, timeout=120, stdin=None, env=None):
    """Runs a command; returns its CompletedProcess with text output. A failure shows what it printed."""
    try:
        r = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout * SLOWER, env=env)
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{' '.join(argv)}: no end after {timeout} s\n{e.stdout or ''}{e.stderr or ''}")
    if check and r.returncode != 0:
        raise Failure(f"{' '.join(argv)}: exit status {r.returncode}\n{r.stdout}{r.stderr}")
    return r


def eventually(what, condition, seconds=30, every=0.05):
    """Waits until condition() is true (or returns a value); an exception of it counts as "not yet"."""
    seconds *= SLOWER
    end = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (AssertionError, subprocess.SubprocessError, KeyError, IndexError, ValueError) as e:
            last = e
        if time.monotonic() > end:
            raise Failure(f"{what}: not after {seconds} s; last: {last}")
        time.sleep(every)


class Node:
    def __init__(self, cluster, number):
        self.cluster = cluster
        self.number = number
        self.name = f"n{number}"
        self.ip = f"192.168.77.{10 + number}"
        self.ns = f"{cluster.id}-{self.name}"
        self.dir = cluster.dir / self.name
        self.data = self.dir / "data"
        self.run_dir = self.dir / "run"
        self.cgroup = f"/{cluster.id}-{self.name}"
        self.log = self.dir / "log"
        self.process = None
        self.role = None
        self.fixed_ip = True
        self.arguments = []

    def enter(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.ns}", "--", *argv]

    def sh(self, *argv, **kw):
        return run(*self.enter(*argv), **kw)

    def flags(self):
        return ["--data-dir", str(self.data), "--run-dir", str(self.run_dir), "--cgroup-root", self.cgroup]

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.enter(BINARY, self.role, *self.arguments), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)

    def start_server(self, *extra):
        self.role = "server"
        self.arguments = [*self.flags(), "--node-name", self.name, *(["--node-ip", self.ip] if self.fixed_ip else []), "--write-kubeconfig", str(self.dir / "kubeconfig.yaml"),
                          "--private-registry", str(self.cluster.registries), *extra]
        self.spawn()

    def start_agent(self, server, token, *extra):
        self.role = "agent"
        self.arguments = [*self.flags(), "--join", f"https://{server.ip}:6443", "--token", token, "--node-name", self.name,
                          *(["--node-ip", self.ip] if self.fixed_ip else []),
                          "--private-registry", str(self.cluster.registries), *extra]
        self.spawn()

    def kill(self, sig=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(timeout=30 * SLOWER)

    def restart(self):
        self.kill(signal.SIGTERM)
        self.spawn()

    def reports(self):
        """What sanitizers said of the node's processes, with the lines that follow."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return ["\n".join(lines[i:i + 60]) for i, line in enumerate(lines) if REPORT.search(line)]

    def tail(self, lines=40):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"


class Cluster:
    reports = []  # of all clusters so far

    def __init__(self, nodes=2):
        self.id = f"at{os.getpid()}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="appliance-test-"))
        self.switch = f"{self.id}-sw"
        self.registry_address = "192.168.77.1:5000"
        self.registries = self.dir / "registries.yaml"
        self.nodes = [Node(self, i + 1) for i in range(nodes)]
        self.processes = []

    def __enter__(self):
        try:
            self._network()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            for n in self.nodes:
                print(f"--- log of {n.name}\n{n.tail()}", file=sys.stderr)
        self.close()

    def _network(self):
        run("ip", "netns", "add", self.switch)
        sw = ["ip", "-n", self.switch]
        run(*sw, "link", "set", "lo", "up")
        run(*sw, "link", "add", "br0", "type", "bridge")
        run(*sw, "addr", "add", "192.168.77.1/24", "dev", "br0")
        run(*sw, "link", "set", "br0", "up")
        for n in self.nodes:
            n.dir.mkdir()
            run("ip", "netns", "add", n.ns)
            run("ip", "-n", n.ns, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{n.number}", "netns", self.switch)
            run("ip", "-n", n.ns, "link", "set", "lo", "up")
            run("ip", "-n", n.ns, "addr", "add", f"{n.ip}/24", "dev", "eth0")
            run("ip", "-n", n.ns, "link", "set", "eth0", "up")
            run("ip", "-n", n.ns, "route", "add", "default", "via", "192.168.77.1")
            run(*sw, "link", "set", f"p{n.number}", "master", "br0", "up")
        self.registries.write_text(f'mirrors:\n  "{self.registry_address}":\n    endpoint: ["http://{self.registry_address}"]\n')

    # --- what runs beside the nodes

    def outside(self, *argv, **kw):
        """Runs a command on the underlay, as a client outside the cluster."""
        return run("nsenter", f"--net=/run/netns/{self.switch}", "--", *argv, **kw)

    def background(self, *argv, **kw):
        p = subprocess.Popen(["nsenter", f"--net=/run/netns/{self.switch}", "--", *argv], start_new_session=True, **kw)
        self.processes.append(p)
        return p

    def start_registry(self):
        config = self.dir / "registry.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {self.dir}/registry}}}}\n"
                          f"http: {{addr: \"{self.registry_address}\"}}\n")
        with open(self.dir / "registry.log", "ab") as log:
            self.background("docker-registry", "serve", str(config), stdout=log, stderr=log)
        eventually("registry answers", lambda: self.outside("curl", "-fsS", f"http://{self.registry_address}/v2/"), 20)

    def push(self, layout, name):
        """Pushes an OCI layout directory as <registry>/<name>; returns the reference."""
        reference = f"{self.registry_address}/{name}"
        self.outside("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}", f"docker://{reference}")
        return reference

    # --- the cluster

    @property
    def server(self):
        return self.nodes[0]

    def token(self):
        return (self.server.data / "server" / "token").read_text().strip()

    def start(self, *server_flags):
        """Starts the server on the first node, agents on the others, and waits until all are Ready."""
        self.server.start_server(*server_flags)
        eventually("server is ready", self.ready, 30)
        for n in self.nodes[1:]:
            n.start_agent(self.server, self.token())
        eventually("all nodes are Ready", lambda: self.ready_nodes() == {n.name for n in self.nodes}, 30)

    def ready(self):
        if self.server.process.poll() is not None:
            raise SystemExit(f"the server ended with status {self.server.process.returncode}:\n{self.server.tail()}")
        return self.kubectl("get", "--raw", "/readyz").stdout == "ok"

    def ready_nodes(self):
        nodes = self.get("nodes")["items"]
        return {n["metadata"]["name"] for n in nodes
                if any(c["type"] == "Ready" and c["status"] == "True" for c in n["status"].get("conditions", []))}

    def kubectl_command(self, *args, old=False):
        return ["nsenter", f"--net=/run/netns/{self.switch}", "--", KUBECTL_OLD if old else KUBECTL,
                "--kubeconfig", str(self.server.dir / "kubeconfig.yaml"), "--server", f"https://{self.server.ip}:6443", *args]

    def kubectl(self, *args, old=False, **kw):
        env = dict(os.environ, HOME=str(self.dir), KUBECTL_COMMAND_HEADERS="false")
        return run(*self.kubectl_command(*args, old=old), env=env, **kw)

    def get(self, *args):
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def apply(self, manifest, *args, **kw):
        return self.kubectl("apply", *args, "-f", "-", stdin=manifest, **kw)

    def wait_running(self, selector, count, namespace="default", seconds=30):
        def check():
            pods = self.get("pods", "-n", namespace, "-l", selector)["items"]
            good = [p for p in pods if p["status"].get("phase") == "Running" and not p["metadata"].get("deletionTimestamp")
                    and all(s["ready"] for s in p["status"].get("containerStatuses", [{"ready": False}]))]
            return good if len(good) == count else None
        return eventually(f"{count} pods with {selector} are running and ready", check, seconds)

    def the_control_plane_lacked_no_rights(self):
        """A step for the end of a scenario: no controller nor the scheduler was refused what its role should allow."""
        refused = [l for l in self.server.log.read_text(errors="replace").splitlines() if re.search(r'User "system:(serviceaccount:kube-system:|kube-).*cannot', l)]
        assert not refused, "\n".join(refused[:20])

    # --- the end

    def close(self):
        for n in self.nodes:
            if SLOWER > 1:
                with contextlib.suppress(Exception):
                    n.kill(signal.SIGTERM)  # leaks are looked for at a process's own end
            with contextlib.suppress(Exception):
                n.kill()
            Cluster.reports += n.reports()
            with contextlib.suppress(Exception):
                n.sh(BINARY, "uninstall", *n.flags(), "--yes", check=False, timeout=60)
        for p in self.processes:
            with contextlib.suppress(Exception):
                os.killpg(p.pid, signal.SIGKILL)
                p.wait(timeout=10)
        for ns in [n.ns for n in self.nodes] + [self.switch]:
            pids = run("ip", "netns", "pids", ns, check=False).stdout.split()
            for pid in pids:
                with contextlib.suppress(OSError):
                    if int(pid) == os.getpid():
                        continue  # a benchmark that has entered the namespace itself
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", ns, check=False)
        for n in self.nodes:
            self._remove_cgroups(n.cgroup)
        with open("/proc/self/mounts") as mounts:
            points = [line.split()[1] for line in mounts if line.split()[1].startswith(str(self.dir))]
        for point in sorted(points, key=len, reverse=True):
            run("umount", "-l", point, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    @staticmethod
    def _remove_cgroups(name):
        for base in ["/sys/fs/cgroup"] + [f"/sys/fs/cgroup/{c}" for c in V1_CONTROLLERS]:
            top = pathlib.Path(base + name)
            if not top.is_dir():
                continue
            for _ in range(50):
                for d in sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: len(p.parts), reverse=True):
                    with contextlib.suppress(OSError):
                        for pid in (d / "cgroup.procs").read_text().split():
                            os.kill(int(pid), signal.SIGKILL)
                    with contextlib.suppress(OSError):
                        d.rmdir()
                with contextlib.suppress(OSError):
                    top.rmdir()
                if not top.exists():
                    break
                time.sleep(0.05)


def leftovers():
    """What a test may leave behind: own namespaces, links, mounts, cgroups, processes. For comparison before and after."""
    found = []
    found += ["netns " + l.split()[0] for l in run("ip", "netns").stdout.splitlines() if l.startswith("at")]
    found += ["link " + l.split()[0] for l in run("ip", "-br", "link").stdout.splitlines() if l.startswith("appl")]
    with open("/proc/self/mounts") as mounts:
        found += ["mount " + l.split()[1] for l in mounts if "appliance-test-" in l]
    for base in ["/sys/fs/cgroup"] + [f"/sys/fs/cgroup/{c}" for c in V1_CONTROLLERS]:
        found += [f"cgroup {d}" for d in pathlib.Path(base).glob("at[0-9]*-n*")]
    for proc in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if "appliance-test-" in line and int(proc.name) != os.getpid():
                found.append(f"process {proc.name} {line[:100]}")
    return found
