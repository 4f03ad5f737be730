"""What happens to hosts: a disk fills up, an address changes, another program takes the port."""
import os
import subprocess

import images
from harness import BINARY, Cluster, eventually, run

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
    - name: c
      image: {image}
      command: [sh, -c, 'mkdir -p /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www']
      ports: [{{containerPort: 8080, hostPort: 8088}}]
"""


class Surroundings:
    def __init__(self, c):
        self.c = c

    def _move(self, node, address):
        run("ip", "-n", node.ns, "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", node.ns, "addr", "del", f"{node.ip}/24", "dev", "eth0")
        run("ip", "-n", node.ns, "addr", "replace", f"{address}/24", "dev", "eth0")
        run("ip", "-n", node.ns, "route", "replace", "default", "via", "192.168.77.1")
        node.ip = address

    def a_full_disk_refuses_writes_and_recovers_by_itself(self):
        c = self.c
        c.start_registry()
        self.image = c.push(images.busybox(c.dir / "image"), "busybox:1")
        for node in ["n1", "n2"]:
            c.apply(POD.format(name=f"on-{node}", node=node, image=self.image))
            c.wait_running(f"app=on-{node}", 1)
        c.kubectl("create", "configmap", "before", "--from-literal=a=b")
        filler = c.server.data / "filler"
        with open(filler, "wb", 0) as f:
            try:
                while True:
                    f.write(b"x" * 65536)
            except OSError:
                pass

        with open(f"{c.dir}/part", "wb") as f:
            f.write(os.urandom(300000))

        def create():
            return c.kubectl("create", "configmap", f"more-{os.urandom(4).hex()}", f"--from-file=f={c.dir}/part", check=False)
        refused = eventually("a write is refused", lambda: (lambda r: r if r.returncode != 0 else None)(create()), 20)
        assert "is full" in refused.stderr and "free some space" in refused.stderr, refused.stderr
        # Everything that needs no room goes on.
        assert c.get("configmap", "before")["data"] == {"a": "b"}
        assert c.kubectl("get", "--raw", "/healthz").stdout == "ok"
        assert c.kubectl("exec", "on-n1", "--", "echo", "alive").stdout == "alive\n"
        filler.unlink()
        eventually("writes are taken again", lambda: create().returncode == 0, 20)
        eventually("all nodes are Ready", lambda: c.ready_nodes() == {"n1", "n2"}, 30)
        c.apply(POD.format(name="after", node="n1", image=self.image).replace("hostPort: 8088", "hostPort: 8089"))
        c.wait_running("app=after", 1)

    def a_node_with_a_new_address_is_followed(self):
        c = self.c
        n2 = c.nodes[1]
        address = lambda: [a["address"] for a in c.get("node", "n2")["status"]["addresses"] if a["type"] == "InternalIP"]
        assert address() == ["192.168.77.12"]
        self._move(n2, "192.168.77.99")
        eventually("the node tells its new address", lambda: address() == ["192.168.77.99"], 60)
        eventually("all nodes are Ready", lambda: c.ready_nodes() == {"n1", "n2"}, 60)
        pod = {p["metadata"]["name"]: p["status"]["podIP"] for p in c.get("pods")["items"]}
        eventually("pods of both nodes reach each other", lambda: c.kubectl(
            "exec", "on-n1", "--", "get", pod["on-n2"], "8080", timeout=10).stdout == "on-n2\n" and c.kubectl(
            "exec", "on-n2", "--", "get", pod["on-n1"], "8080", timeout=10).stdout == "on-n1\n", 60)

    def a_server_with_a_new_address_is_followed(self):
        c, n1 = self.c, self.c.server
        ca, old = c.dir / "ca.crt", n1.ip
        ca.write_text(c.get("configmap", "kube-root-ca.crt")["data"]["ca.crt"])
        behind = lambda: [e["addresses"] for e in c.get("endpointslice", "kubernetes")["endpoints"]]
        reached = lambda address: n1.sh("curl", "-sS", "-m", "5", "--cacert", str(ca), f"https://{address}/version", check=False)
        assert behind() == [[old]]
        self._move(n1, "192.168.77.98")
        eventually("the kubernetes service leads to it", lambda: reached("10.43.0.1").returncode == 0, 30)
        eventually("its certificate holds there", lambda: reached("192.168.77.98:6443").returncode == 0, 30)
        eventually("the endpoints are its new address", lambda: behind() == [[n1.ip]] and c.get("endpoints", "kubernetes")["subsets"][0]["addresses"] == [{"ip": n1.ip}], 10)
        self._move(n1, old)
        eventually("it is back, and so is the agent that knows it by this address", lambda: behind() == [[old]] and c.ready_nodes() == {"n1", "n2"}, 60)
        eventually("the agent serves logs again", lambda: c.kubectl("logs", "on-n2", check=False).returncode == 0, 30)

    def a_host_port_leads_to_the_pod(self):
        for node in self.c.nodes:
            assert self.c.outside("curl", "-fsS", "-m", "5", f"http://{node.ip}:8088/").stdout == f"on-{node.name}\n"

    def a_taken_port_is_said_in_one_line(self):
        n1 = self.c.server
        r = n1.sh(BINARY, "server", "--data-dir", str(n1.dir / "other"), "--run-dir", str(n1.dir / "other-run"), "--disable-agent", check=False, timeout=20)
        assert r.returncode != 0 and "6443" in r.stderr and "in use" in r.stderr and len(r.stderr.strip().splitlines()) <= 3, r.stderr


def scenario():
    with Cluster(nodes=2) as c:
        c.server.data.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(c.server.data)], check=True)
        c.nodes[0].fixed_ip = c.nodes[1].fixed_ip = False
        c.start()
        s = Surroundings(c)
        for name in [n for n in vars(Surroundings) if n[0] != "_"]:
            yield name.replace("_", " "), getattr(s, name)
