"""What a person sees who makes a mistake on the command line."""
import os
import signal
import subprocess

import harness
from harness import BINARY, Cluster, eventually, run


def refused(*argv, node=None, **kw):
    command = node.enter(BINARY, *argv) if node else [BINARY, *argv]
    r = run(*command, check=False, timeout=30, **kw)
    assert r.returncode != 0, r
    text = (r.stdout + r.stderr).strip()
    lines = [l for l in text.splitlines() if not l.startswith("20")]  # without log lines
    return lines[-1] if lines else ""


class CommandLine:
    def __init__(self, c):
        self.c = c

    def unknown_words_are_named(self):
        assert "--nonsense" in refused("server", "--nonsense")
        assert "frobnicate" in run(BINARY, "frobnicate", check=False).stderr
        assert "number" in refused("server", "--https-listen-port", "many")

    def a_bad_config_file_is_named(self):
        path = self.c.dir / "config.yaml"
        path.write_text("no-such-flag: 1\n")
        assert "no-such-flag" in refused("server", "--config", str(path))
        path.write_text("node-name: [a\n")
        assert str(path) in refused("server", "--config", str(path))

    def every_flag_is_in_the_guide(self):
        guide = (harness.ROOT / "docs/guide.md").read_text()
        for command in ("server", "agent"):
            for line in run(BINARY, command, "--help").stdout.splitlines():
                if line.startswith("  --"):
                    assert line.split()[0] in guide, line

    def without_root_it_says_so(self):
        r = run("setpriv", "--reuid=65534", "--clear-groups", BINARY, "server", check=False)
        assert r.returncode == 1 and "root" in r.stderr and len(r.stderr.splitlines()) == 1, r

    def a_busy_port_and_a_second_process_are_refused(self):
        n = self.c.server
        other = ["--data-dir", str(n.dir / "d2"), "--run-dir", str(n.dir / "r2"), "--cgroup-root", n.cgroup + "x", "--node-ip", n.ip,
                 "--write-kubeconfig", str(n.dir / "k2")]
        assert "6443" in refused("server", *other, node=n)
        assert "already runs" in refused("server", *n.flags(), "--node-ip", n.ip, node=n)

    def joining_with_a_wrong_token_or_ca_ends_with_one_clear_line(self):
        n = self.c.nodes[0]
        token = self.c.token()
        flags = ["--data-dir", str(n.dir / "d3"), "--run-dir", str(n.dir / "r3"), "--cgroup-root", n.cgroup + "y", "--node-ip", n.ip, "--node-name", "x",
                 "--join", f"https://{n.ip}:6443"]
        assert "token" in refused("agent", *flags, "--token", token[:-4] + "zzzz", node=n)
        head, tail = token.split("::")
        wrong = head[:3] + ("0" * (len(head) - 3)) + "::" + tail
        assert "CA" in refused("agent", *flags, "--token", wrong, node=n)
        assert "--join" in refused("agent", *n.flags())

    def a_restart_keeps_everything(self):
        c = self.c
        c.kubectl("create", "configmap", "kept", "--from-literal=a=b")
        c.server.restart()
        eventually("the server is back", c.ready, 30)
        assert c.get("configmap", "kept")["data"] == {"a": "b"}

    def manifests_in_the_directory_are_applied(self):
        c = self.c
        d = c.server.data / "server/manifests"
        (d / "one.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: from-file}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: from-file}\ndata: {x: '1'}\n")
        eventually("the file is applied", lambda: c.get("configmap", "a", "-n", "from-file")["data"] == {"x": "1"})


def scenario():
    with Cluster(nodes=1) as c:
        c.start()
        l = CommandLine(c)
        for name in [n for n in vars(CommandLine) if n[0] != "_"]:
            yield name.replace("_", " "), getattr(l, name)
