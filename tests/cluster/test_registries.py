"""One node and registries of every kind: private authority, tokens and pull secrets, mirrors, plain HTTP, and what a bad one makes users read."""
import json
import pathlib
import sys

import images
from harness import HERE, Cluster, eventually, run

PRIVATE = "registry.example.com:5443"


class Registries:
    def __init__(self, c):
        self.c = c
        self.layout = images.busybox(c.dir / "image", cmd=["sleep", "1000"])

    def pod(self, name, image, secret=None):
        spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image}]}
        if secret:
            spec["imagePullSecrets"] = [{"name": secret}]
        self.c.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}))

    def message(self, name, *words):
        def check():
            status = self.c.get("pod", name)["status"]["containerStatuses"][0]
            events = self.c.kubectl("get", "events", "--field-selector", f"involvedObject.name={name}").stdout
            assert status["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff"), status
            assert all(w in events for w in words), events
            return True
        eventually(f"{name} says {words}", check, 30)

    def a_registry_with_a_private_authority_and_tokens_needs_a_pull_secret(self):
        c, d = self.c, self.c.dir
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry.example.com", "-addext",
            "subjectAltName=DNS:registry.example.com,IP:192.168.77.1", "-keyout", str(d / "tls.key"), "-out", str(d / "tls.crt"))
        c.background(sys.executable, str(HERE / "token_service.py"), "192.168.77.1", "5001", str(d / "tls.key"), str(d / "tls.crt"), "ada", "engine")
        c.start_registry()
        config = d / "private.yml"
        config.write_text(f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {d}/private}}}}\n"
                          f"http: {{addr: '192.168.77.1:5443', tls: {{certificate: {d}/tls.crt, key: {d}/tls.key}}}}\n"
                          f"auth: {{token: {{realm: 'https://192.168.77.1:5001/token', service: tests, issuer: tests, rootcertbundle: {d}/tls.crt}}}}\n")
        with open(d / "private.log", "ab") as log:
            c.background("docker-registry", "serve", str(config), stdout=log, stderr=log)
        eventually("the private registry asks for a token", lambda: "401" in c.outside(
            "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://192.168.77.1:5443/v2/").stdout, 20)
        c.outside("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--dest-creds", "ada:engine", f"oci:{self.layout}",
                  "docker://192.168.77.1:5443/team/app:1")
        image = f"{PRIVATE}/team/app:1"
        self.pod("no-secret", image)
        self.message("no-secret", "wants a user name and a password")
        for name, password in [("right", "engine"), ("wrong", "loom")]:
            c.kubectl("create", "secret", "docker-registry", name, f"--docker-server={PRIVATE}", "--docker-username=ada", f"--docker-password={password}")
        self.pod("wrong-secret", image, "wrong")
        self.message("wrong-secret", "refuses the credentials")
        self.pod("with-secret", image, "right")
        c.wait_running("app=with-secret", 1)

    def a_pull_secret_of_the_service_account_serves_its_pods(self):
        self.c.kubectl("patch", "serviceaccount", "default", "-p", '{"imagePullSecrets": [{"name": "right"}]}')
        self.pod("by-account", f"{PRIVATE}/team/app:1")
        self.c.wait_running("app=by-account", 1)

    def a_mirror_stands_for_another_registry(self):
        self.c.push(self.layout, "library/thing:2")
        self.pod("mirrored", "docker.io/library/thing:2")
        self.c.wait_running("app=mirrored", 1)

    def an_image_that_is_nowhere_is_said_to_be_missing(self):
        self.pod("absent", "docker.io/library/absent:1")
        self.message("absent", "docker.io/library/absent:1", "not found")

    def a_damaged_layer_is_refused(self):
        c = self.c
        layer = images.Layer().file("evidence", "x" * 100000).bytes()
        c.push(images.layout(c.dir / "damaged", [layer], cmd=["/evidence"]), "damaged:1")
        digest = json.loads(next(p.read_text() for p in (c.dir / "damaged/blobs/sha256").iterdir() if b'image.manifest' in p.read_bytes()))["layers"][0]["digest"]
        blob = pathlib.Path(c.dir) / "registry/docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 0xff
        blob.write_bytes(data)
        self.pod("damaged", f"{c.registry_address}/damaged:1")
        self.message("damaged", "digest")


def scenario():
    with Cluster(nodes=1) as c:
        c.registries.write_text(f"""mirrors:
  "{c.registry_address}": {{endpoint: ["http://{c.registry_address}"]}}
  docker.io: {{endpoint: ["http://{c.registry_address}"]}}
  "{PRIVATE}": {{endpoint: ["https://192.168.77.1:5443"]}}
configs:
  "192.168.77.1:5443": {{tls: {{ca_file: "{c.dir}/tls.crt"}}}}
""")
        c.start()
        r = Registries(c)
        for name in [n for n in vars(Registries) if n[0] != "_" and n not in ("pod", "message")]:
            yield name.replace("_", " "), getattr(r, name)
