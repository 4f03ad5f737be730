"""What Kubernetes' conformance areas ask of the API, above all what came after 1.20: one cluster of one node, raw requests."""
import base64
import subprocess

import identity
import images
import lifecycle
import machinery
import network
import workloads
from client import Api
from harness import Cluster


def keys(directory):
    """A certificate request, as the API wants it, and certificates of authorities."""
    def made(*args):
        return subprocess.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            directory / "key", *args],
                              check=True, capture_output=True, text=True).stdout
    authorities = [made("-x509", "-days", "9", "-subj", f"/CN=authority {n}") for n in range(3)]
    return {"CSR": base64.b64encode(made("-new", "-subj", "/CN=e2e/O=test").encode()).decode(), "PEM": authorities[0], "PEMS": authorities}


def scenario():
    with Cluster(nodes=1) as c:
        c.start()
        api = Api(c)
        api.made = keys(c.dir)
        c.start_registry()
        api.image = c.push(images.busybox(c.dir / "image"), "busybox:1")
        for part in (lifecycle, machinery, identity, workloads, network):
            yield from part.cases(api)
        yield "the control plane lacked no rights", c.the_control_plane_lacked_no_rights
