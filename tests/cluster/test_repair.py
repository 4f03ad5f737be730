"""The voting application on two nodes: votes survive the death of pods, of a node and of the server process."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

from harness import ROOT, Cluster, eventually, run

CACHE = pathlib.Path(os.environ.get("APPLIANCE_TEST_CACHE", str(ROOT / "build/images")))


class Repair:
    def __init__(self, c):
        self.c = c
        self.votes = {"cats": 0, "dogs": 0}

    def vote(self, choice, node=None):
        ip = (node or self.c.nodes[0]).ip
        r = self.c.outside("curl", "-fsS", "-m", "5", "-H", "Host: vote.example.com", "-d", f"choice={choice}", f"http://{ip}/")
        assert f"You voted for {choice}" in r.stdout
        self.votes[choice] += 1
        return True

    def counted(self, node=None):
        ip = (node or self.c.nodes[0]).ip
        return json.loads(self.c.outside("curl", "-fsS", "-m", "5", "-H", "Host: result.example.com", f"http://{ip}/counts").stdout) == self.votes

    def the_application_comes_up_and_counts_votes(self):
        c = self.c
        c.start_registry()
        script = str(ROOT / "examples/voting/images.sh")
        run(script, "-", str(CACHE), timeout=600)  # packages come from outside the test's network
        c.outside(script, c.registry_address, str(CACHE), timeout=600)
        c.kubectl("label", "node", "n1", "voting-data=true")
        for f in sorted((ROOT / "examples/voting/manifests").glob("*.yaml")):
            c.apply(f.read_text().replace("REGISTRY", c.registry_address).replace("/var/lib/voting-data", str(c.dir / "voting-data")))
        # A dead node's pods leave after seconds, not five minutes.
        for name in ["vote", "result", "worker", "redis"]:
            c.kubectl("patch", "deployment", name, "-p", json.dumps({"spec": {"template": {"spec": {"tolerations": [
                {"key": f"node.kubernetes.io/{k}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 2} for k in ("unreachable", "not-ready")]}}}}))
        for name in ["redis", "db", "vote", "worker", "result"]:
            c.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s")
        eventually("a vote is taken", lambda: self.vote("cats"), 30)
        self.vote("dogs", c.nodes[1])
        eventually("both are counted", self.counted, 30)

    def a_killed_pod_is_replaced_and_nothing_is_lost(self):
        c = self.c
        c.kubectl("delete", "pod", "-l", "app=db", "--wait=false")
        c.kubectl("delete", "pod", "-l", "app=vote", "--grace-period=0", "--force")
        eventually("a vote is taken", lambda: self.vote("cats"), 30)
        eventually("all are counted", self.counted, 60)

    def a_killed_container_process_is_restarted(self):
        c = self.c
        pod = c.wait_running("app=vote", 2)[0]
        name = pod["metadata"]["name"]
        c.kubectl("exec", name, "--", "/bin/busybox", "kill", "-9", "1", check=False)
        c.kubectl("exec", name, "--", "/bin/busybox", "kill", "-15", "1", check=False)
        eventually("the container was restarted or kept", lambda: c.wait_running("app=vote", 2), 30)
        eventually("a vote is taken", lambda: self.vote("dogs"), 30)
        eventually("all are counted", self.counted, 30)

    def the_server_process_is_killed_and_pods_do_not_notice(self):
        c = self.c
        started = lambda: {p["metadata"]["uid"]: [s["containerID"] for s in p["status"]["containerStatuses"]] for p in c.get("pods")["items"]
                           if not p["metadata"].get("deletionTimestamp")}
        before = started()
        # Both front ends find the queue now: the names of the first node's pods are answered by the process that is killed.
        for _ in range(4):
            self.vote("dogs", c.nodes[1])
        c.server.kill(signal.SIGKILL)
        # The data path of the other node does not need the server.
        self.vote("cats", c.nodes[1])
        c.server.spawn()
        eventually("the server is back", c.ready, 30)
        eventually("all nodes are Ready", lambda: c.ready_nodes() == {"n1", "n2"}, 30)
        eventually("all are counted", self.counted, 30)
        assert started() == before

    def the_agent_process_is_killed_and_pods_do_not_notice(self):
        c = self.c
        n2 = c.nodes[1]
        pods = lambda: {p["metadata"]["uid"]: [s["containerID"] for s in p["status"]["containerStatuses"]] for p in c.get("pods", "--field-selector=spec.nodeName=n2")["items"]}
        before = pods()
        n2.kill(signal.SIGKILL)
        n2.spawn()
        eventually("all nodes are Ready", lambda: c.ready_nodes() == {"n1", "n2"}, 30)
        self.vote("dogs")
        eventually("all are counted", self.counted, 30)
        assert pods() == before and before
        pod = c.get("pods", "--field-selector=spec.nodeName=n2")["items"][0]["metadata"]["name"]
        assert c.kubectl("exec", pod, "--", "/bin/busybox", "echo", "still here").stdout == "still here\n"

    def a_dead_nodes_pods_are_replaced_elsewhere(self):
        c = self.c
        n2 = c.nodes[1]
        n2.kill(signal.SIGKILL)
        for pid in run("ip", "netns", "pids", n2.ns, check=False).stdout.split():
            subprocess.run(["kill", "-9", pid], check=False)
        run("ip", "-n", n2.ns, "link", "set", "eth0", "down")
        eventually("n2 is not Ready", lambda: c.ready_nodes() == {"n1"}, 90)

        def all_on_n1():
            good = [p for p in c.get("pods")["items"] if p["spec"].get("nodeName") == "n1" and not p["metadata"].get("deletionTimestamp")
                    and all(s["ready"] for s in p["status"].get("containerStatuses", [{"ready": False}]))]
            names = [p["metadata"]["labels"]["app"] for p in good]
            return all(names.count(a) == n for a, n in {"vote": 2, "result": 2, "worker": 1, "redis": 1, "db": 1}.items())
        eventually("everything runs on n1", all_on_n1, 60)
        eventually("a vote is taken", lambda: self.vote("cats"), 30)
        eventually("all are counted", self.counted, 30)

    def the_node_comes_back(self):
        c = self.c
        n2 = c.nodes[1]
        run("ip", "-n", n2.ns, "link", "set", "eth0", "up")
        run("ip", "-n", n2.ns, "route", "replace", "default", "via", "192.168.77.1")
        n2.spawn()
        eventually("n2 is Ready", lambda: c.ready_nodes() == {"n1", "n2"}, 30)
        self.vote("dogs", n2)
        eventually("all are counted", lambda: self.counted(n2), 30)

    def uninstall_leaves_nothing_on_a_node(self):
        import harness
        n2 = self.c.nodes[1]
        n2.kill(signal.SIGTERM)
        r = n2.sh(harness.BINARY, "uninstall", *n2.flags(), "--yes")
        assert r.stderr == "", r.stderr
        links = run("ip", "-n", n2.ns, "-br", "link").stdout
        assert "appl" not in links, links
        assert "appliance" not in run("nsenter", f"--net=/run/netns/{n2.ns}", "nft", "list", "tables", check=False).stdout
        assert not n2.data.exists() and not n2.run_dir.exists()
        left = [l for l in harness.leftovers() if l.startswith("cgroup") and l.endswith(n2.cgroup) or str(n2.dir) in l]
        assert not left, left


def scenario():
    with Cluster(nodes=2) as c:
        c.start("--node-monitor-grace-period", "25")
        r = Repair(c)
        for name in [n for n in vars(Repair) if n[0] != "_" and n not in ("vote", "counted")]:
            yield name.replace("_", " "), getattr(r, name)
