"""Small OCI image layouts made from files of this host: the images of the tests and benchmarks."""
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import tarfile

BUSYBOX_APPLETS = ["sh", "cat", "echo", "env", "false", "grep", "head", "httpd", "id", "ls", "mkdir", "mount", "nc", "nslookup", "ping", "printf", "ps", "rm",
                   "sed", "seq", "sleep", "sort", "stat", "tail", "tar", "test", "touch", "tr", "true", "umount", "uname", "wc", "wget", "whoami", "yes", "date", "dd",
                   "kill", "ln", "cp", "mv", "chmod", "hostname", "ip", "df", "find", "awk", "cut", "tee", "trap", "[", "timeout", "stty", "tty", "vi", "od", "md5sum"]


def _blob(root, data):
    digest = hashlib.sha256(data).hexdigest()
    (root / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def layout(path, layers, entrypoint=None, cmd=None, env=None, user="", workdir="", ports=()):
    """Writes an OCI layout with the given uncompressed layer tars (bytes); returns the path."""
    root = pathlib.Path(path)
    (root / "blobs/sha256").mkdir(parents=True, exist_ok=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    descriptors, diff_ids = [], []
    for tar in layers:
        diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
        descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **_blob(root, gzip.compress(tar, 1, mtime=0))})
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids},
              "config": {"Entrypoint": entrypoint, "Cmd": cmd, "Env": env or ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                         "User": user, "WorkingDir": workdir, "ExposedPorts": {p: {} for p in ports}}}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **_blob(root, json.dumps(config).encode())}, "layers": descriptors}
    m = _blob(root, json.dumps(manifest).encode())
    index = {"schemaVersion": 2, "manifests": [{"mediaType": manifest["mediaType"], **m, "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}
    (root / "index.json").write_text(json.dumps(index))
    return f"{root}:latest"


class Layer:
    """Collects a layer tar in memory."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def dir(self, name, mode=0o755):
        i = tarfile.TarInfo(name)
        i.type, i.mode = tarfile.DIRTYPE, mode
        self.tar.addfile(i)
        return self

    def file(self, name, data, mode=0o644):
        data = data.encode() if isinstance(data, str) else data
        i = tarfile.TarInfo(name)
        i.size, i.mode = len(data), mode
        self.tar.addfile(i, io.BytesIO(data))
        return self

    def link(self, name, to):
        i = tarfile.TarInfo(name)
        i.type, i.linkname = tarfile.SYMTYPE, to
        self.tar.addfile(i)
        return self

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


GET = """#!/bin/bash
# get HOST PORT [PATH]: the body of an HTTP answer. (The static busybox has no working resolver, so its wget is of no use.)
exec 3<>"/dev/tcp/$1/$2" || exit 1
printf 'GET %s HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n' "${3:-/}" "$1" >&3
sed '1,/^\\r$/d' <&3
"""


def add_program(layer, path):
    """A dynamically linked program of this host with its libraries."""
    libraries = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout)
    for f in [path, *libraries]:
        layer.file(f.removeprefix("/"), pathlib.Path(f).read_bytes(), 0o755)


def busybox_layer():
    layer = Layer()
    for d in ["bin", "lib", "lib/x86_64-linux-gnu", "lib64", "etc", "root", "usr", "usr/bin", "var", "var/www", "home"]:
        layer.dir(d)
    layer.dir("tmp", 0o1777)
    layer.file("bin/busybox", pathlib.Path("/bin/busybox").read_bytes(), 0o755)
    for applet in BUSYBOX_APPLETS:
        layer.link(f"bin/{applet}", "busybox")
    add_program(layer, "/bin/bash")
    layer.file("bin/get", GET, 0o755)
    layer.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nweb:x:1000:1000::/home:/bin/sh\n")
    layer.file("etc/group", "root:x:0:\nweb:x:1000:\nextra:x:2000:web\nnogroup:x:65534:\n")
    return layer.bytes()


def busybox(path, **kw):
    """A busybox image; keyword arguments as of layout()."""
    kw.setdefault("cmd", ["sh"])
    return layout(path, [busybox_layer()], **kw)
