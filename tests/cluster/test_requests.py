"""Around the requests: Secrets on the disk, the audit log, health, metrics, the end of a server."""
import json
import os
import re
import subprocess
import time

from harness import BINARY, Cluster, eventually, run


class Requests:
    def __init__(self, c):
        self.c = c

    def _files(self):
        d = self.c.server.data / "server"
        return b"".join(p.read_bytes() for p in d.glob("state.db*"))

    def _secrets(self, action):
        n = self.c.server
        return n.sh(BINARY, "secrets", action, "--write-kubeconfig", str(n.dir / "kubeconfig.yaml")).stdout

    def _audit(self):
        path = self.c.server.data / "server/audit/audit.log"
        return [json.loads(l) for l in path.read_text().splitlines()]

    def a_secret_is_not_readable_on_the_disk(self):
        c = self.c
        c.kubectl("create", "secret", "generic", "safe", "--from-literal=word=open-sesame")
        assert b"open-sesame" not in self._files() and b"b3Blbi1zZXNhbWU" not in self._files()
        assert "on, AES-256-GCM" in self._secrets("status")
        assert os.stat(c.server.data / "server/encryption.key").st_mode & 0o777 == 0o600

    def a_rotated_key_takes_over_and_a_restart_reads_with_it(self):
        c = self.c
        before = (c.server.data / "server/encryption.key").read_text()
        self._secrets("rotate-key")
        after = (c.server.data / "server/encryption.key").read_text()
        assert before.splitlines()[1] not in after and len(after.splitlines()) == 2
        c.server.restart()
        eventually("the server is back", c.ready, 30)
        assert c.get("secret", "safe")["data"]["word"] == "b3Blbi1zZXNhbWU="
        assert b"b3Blbi1zZXNhbWU" not in self._files()

    def a_lost_key_file_is_named(self):
        n = self.c.server
        key = n.data / "server/encryption.key"
        n.kill(15)
        text = key.read_text()
        key.unlink()
        r = run(*n.enter(BINARY, "server", *n.arguments), check=False, timeout=60)
        key.write_text(text)
        key.chmod(0o600)
        n.spawn()
        eventually("the server is back", self.c.ready, 30)
        assert r.returncode != 0 and str(key) in r.stderr and "/registry/core/secrets/" in r.stderr, r.stderr

    def the_audit_log_tells_who_did_what(self):
        c = self.c
        c.kubectl("create", "configmap", "seen", "--from-literal=a=never-logged")
        c.kubectl("get", "pods", "--as=jane", check=False)
        event = eventually("the creation is in the log", lambda: [e for e in self._audit() if e["verb"] == "create" and e.get("objectRef", {}).get("name") == "seen"], 10)[0]
        assert event["level"] == "Metadata" and event["user"]["username"] == "system:admin" and event["responseStatus"]["code"] == 201, event
        refused = eventually("the refusal too", lambda: [e for e in self._audit() if e.get("impersonatedUser", {}).get("username") == "jane"], 10)
        assert refused[-1]["responseStatus"]["code"] == 403, refused
        c.kubectl("create", "deployment", "audited", "--image=none.invalid/x", "--replicas=1")
        made = eventually("what its controllers do too", lambda: [e for e in self._audit() if e["verb"] == "create" and e.get("objectRef", {}).get("resource") == "pods"], 10)[0]
        assert made["user"]["username"] == "system:serviceaccount:kube-system:replicaset-controller" and made["responseStatus"]["code"] == 201, made
        pod = c.get("pods", "-l", "app=audited", "--show-managed-fields")["items"][0]
        assert pod["metadata"]["managedFields"][0]["manager"] == "kube-controller-manager", pod["metadata"]
        c.kubectl("delete", "deployment", "audited", "--cascade=foreground")
        log = (c.server.data / "server/audit/audit.log")
        assert "never-logged" not in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600

    def an_idle_cluster_writes_no_audit(self):
        log = self.c.server.data / "server/audit/audit.log"
        time.sleep(1)
        size = log.stat().st_size
        time.sleep(12)  # heartbeats come every 10 s
        assert log.stat().st_size == size, log.read_text()[size:]

    def metrics_are_what_prometheus_reads(self):
        text = self.c.kubectl("get", "--raw", "/metrics").stdout
        sample = re.compile(r'^[a-z_]+(\{([a-z_]+="[^"\\]*",?)*\})? [0-9.e+-]+$')
        for line in text.splitlines():
            assert line.startswith("# ") or sample.match(line), line
        for name in ("apiserver_request_total", "workqueue_adds_total", "apiserver_flowcontrol_dispatched_requests_total", "apiserver_audit_event_total", "apiserver_watch_events_total", "process_open_fds"):
            assert "\n" + name in text, name

    def both_kubectls_read_the_flow_objects(self):
        for old in (True, False):
            out = self.c.kubectl("get", "--raw", "/readyz?verbose", old=old).stdout
            assert "[+]datastore ok" in out and out.endswith("readyz check passed\n")
        assert "MISSINGPL" in self.c.kubectl("get", "flowschemas").stdout

    def a_watch_ends_in_order_when_the_server_stops(self):
        c = self.c
        begun = time.monotonic()
        p = subprocess.Popen(c.kubectl_command("get", "configmaps", "--watch", "--output-watch-events"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert p.stdout.readline()
        c.server.restart()
        assert time.monotonic() - begun < 4.5, "the watch and the agent's tunnel held up the end"
        out, err = p.communicate(timeout=30)
        assert "unexpected" not in err.lower() and "refused" not in err.lower(), err
        eventually("the server is back", c.ready, 30)


def scenario():
    with Cluster(nodes=2) as c:
        c.start()
        r = Requests(c)
        for name in [n for n in vars(Requests) if n[0] != "_"]:
            yield name.replace("_", " "), getattr(r, name)
