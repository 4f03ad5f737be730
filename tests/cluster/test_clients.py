"""Client libraries of others: what kubectl does not do, programs do."""
import images
from harness import HERE, Cluster


def scenario():
    with Cluster(nodes=1) as c:
        c.start()
        c.start_registry()
        image = c.push(images.busybox(c.dir / "image"), "busybox:1")

        def python():
            c.outside("/usr/bin/python3", str(HERE / "python_client.py"), str(c.server.dir / "kubeconfig.yaml"), f"https://{c.server.ip}:6443", image)
        yield "the Python client lists, watches, executes, scales and patches", python
