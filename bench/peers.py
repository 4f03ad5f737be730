"""The control planes that are measured beside each other: ours, and kube-apiserver with etcd, controller-manager and scheduler (see peers.sh).

Both run on the first node of a cluster of network namespaces (tests/cluster/harness.py), keep their data on the same disk, run no kubelet, and are
asked by the same client over TLS with a client certificate, under RBAC, with an audit log at level Metadata.
"""
import base64
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/cluster"))
from harness import KUBECTL, Cluster, eventually, run  # noqa: E402

PEERS = pathlib.Path(os.environ.get("PEERS_DIR", str(ROOT / "build/peers")))
# Nodes of the benchmark have no kubelet: nobody is to miss their heartbeats while it lasts.
PATIENCE = "100000"


def there():
    """Whether peers.sh has been run, and etcd is installed."""
    return shutil.which("etcd") is not None and all((PEERS / p).exists() for p in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"))


class Side:
    """A control plane at work. `store` are the processes that hold and serve objects, `rest` those that act on them."""
    store, rest = (), ()

    def __init__(self, cluster):
        self.cluster = cluster
        self.node = cluster.server
        self.url = f"https://{self.node.ip}:6443"

    def kubectl(self, *args, **kw):
        return self.cluster.outside(KUBECTL, "--kubeconfig", str(self.kubeconfig), "--server", self.url, *args, env=dict(os.environ, HOME=str(self.cluster.dir)), **kw)

    def ready(self):
        return self.cluster.outside("curl", "-sk", "-m", "1", *self.curl, f"{self.url}/readyz", check=False).stdout == "ok"

    def load_flags(self, name):
        d = self.cluster.dir
        return ["--server", self.url, "--ca", str(d / "ca.pem"), "--cert", str(d / f"{name}.pem"), "--key", str(d / f"{name}-key.pem")]


class Ours(Side):
    name = "appliance"
    curl = ()

    def start(self):
        self.node.start_server("--disable-agent", "--node-monitor-grace-period", PATIENCE)
        self.kubeconfig = self.node.dir / "kubeconfig.yaml"
        eventually("server is ready", lambda: self.kubeconfig.exists() and self.ready())
        text = self.kubeconfig.read_text()
        for key, name in (("certificate-authority-data", "ca"), ("client-certificate-data", "admin"), ("client-key-data", "admin-key")):
            (self.cluster.dir / f"{name}.pem").write_bytes(base64.b64decode(re.search(key + r":\s*\"?([A-Za-z0-9+/=]+)", text).group(1)))
        self.flags = self.load_flags("admin")

    @property
    def store(self):
        return [int((self.node.run_dir / "appliance.pid").read_text())]

    def stop(self):
        self.node.kill(signal.SIGTERM)

    def spawn(self):
        self.node.spawn()

    def complete(self):
        eventually("server is ready", self.ready)


AUDIT = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}


class Kubernetes(Side):
    name = "kube-apiserver + etcd"

    def start(self):
        d = self.cluster.dir
        self._certificates(d)
        (d / "audit.json").write_text(json.dumps(AUDIT))
        for user in ("admin", "controllers", "scheduler"):
            config = {"apiVersion": "v1", "kind": "Config", "current-context": "it", "contexts": [{"name": "it", "context": {"cluster": "it", "user": user}}],
                      "clusters": [{"name": "it", "cluster": {"server": self.url, "certificate-authority": str(d / "ca.pem")}}],
                      "users": [{"name": user, "user": {"client-certificate": str(d / f"{user}.pem"), "client-key": str(d / f"{user}-key.pem")}}]}
            (d / f"{user}.conf").write_text(json.dumps(config))
        self.kubeconfig = d / "admin.conf"
        self.curl = ("--cert", str(d / "admin.pem"), "--key", str(d / "admin-key.pem"))
        self.processes = []
        self.spawn()
        self.complete()
        self.flags = self.load_flags("admin")
        eventually("the default ServiceAccount is there", lambda: self.kubectl("get", "serviceaccount", "default", "-o", "jsonpath={.secrets[0].name}", check=False).stdout, 60)

    def complete(self):
        """What acts on objects, once the server is ready: the controller-manager would not wait long."""
        d = self.cluster.dir
        eventually("kube-apiserver is ready", self.ready, 120)
        self._run("kube-controller-manager", "--kubeconfig", d / "controllers.conf", "--use-service-account-credentials", "--root-ca-file", d / "ca.pem",
                  "--service-account-private-key-file", d / "accounts-key.pem", "--leader-elect=false", "--port=0", "--authentication-skip-lookup",
                  "--node-monitor-grace-period", PATIENCE + "s", "--node-startup-grace-period", PATIENCE + "s")
        self._run("kube-scheduler", "--kubeconfig", d / "scheduler.conf", "--leader-elect=false", "--port=0", "--authentication-skip-lookup")
        self.rest = [p.pid for p in self.processes[2:]]

    def _certificates(self, d):
        """An authority; identities of server, administrator, controllers and scheduler; the key that signs tokens."""
        def openssl(*args):
            run("openssl", *map(str, args))

        def key(name):
            openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", d / f"{name}-key.pem")

        key("ca")
        key("accounts")
        openssl("req", "-x509", "-new", "-key", d / "ca-key.pem", "-subj", "/CN=bench", "-days", "30", "-out", d / "ca.pem")
        (d / "names").write_text(f"subjectAltName=IP:{self.node.ip},IP:127.0.0.1,DNS:localhost\n")
        for name, subject in (("server", "/CN=kube-apiserver"), ("admin", "/O=system:masters/CN=admin"), ("controllers", "/CN=system:kube-controller-manager"),
                              ("scheduler", "/CN=system:kube-scheduler")):
            key(name)
            openssl("req", "-new", "-key", d / f"{name}-key.pem", "-subj", subject, "-out", d / "request")
            openssl("x509", "-req", "-in", d / "request", "-CA", d / "ca.pem", "-CAkey", d / "ca-key.pem", "-CAcreateserial", "-days", "30", "-extfile", d / "names",
                    "-out", d / f"{name}.pem")

    def _run(self, program, *args):
        path = PEERS / program if (PEERS / program).exists() else program
        with open(self.cluster.dir / f"{program}.log", "ab") as log:
            p = subprocess.Popen(self.node.enter(str(path), *map(str, args)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.cluster.processes.append(p)
        self.processes.append(p)

    def spawn(self):
        """etcd as it comes (every write is synced), without TLS, and the server that reads and writes there."""
        d = self.cluster.dir
        self._run("etcd", "--data-dir", d / "etcd", "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
                  "--listen-peer-urls", "http://127.0.0.1:2380", "--log-level", "error", "--quota-backend-bytes", str(8 << 30))
        self._run("kube-apiserver", "--etcd-servers", "http://127.0.0.1:2379", "--advertise-address", self.node.ip, "--service-cluster-ip-range", "10.43.0.0/16",
                  "--tls-cert-file", d / "server.pem", "--tls-private-key-file", d / "server-key.pem", "--client-ca-file", d / "ca.pem", "--anonymous-auth=false",
                  "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--service-account-issuer", "https://kubernetes.default.svc",
                  "--service-account-key-file", d / "accounts-key.pem", "--service-account-signing-key-file", d / "accounts-key.pem",
                  "--audit-policy-file", d / "audit.json", "--audit-log-path", d / "audit.log")
        self.store, self.rest = [p.pid for p in self.processes], ()

    def stop(self):
        for p in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                p.terminate()
            p.wait(timeout=60)
        self.processes = []


@contextlib.contextmanager
def running(kind):
    with Cluster(nodes=1) as c:
        side = kind(c)
        side.start()
        # Nodes without a kubelet: those the pods of the load generator are bound to.
        nodes = [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{i}"}} for i in range(100)]
        side.kubectl("create", "-f", "-", "-o", "name", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        try:
            yield side
        except BaseException:
            for log in c.dir.glob("kube-*.log"):
                print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-20:], sep="\n", file=sys.stderr)
            raise
