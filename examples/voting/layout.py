"""layout.py NAME WORK APP: writes WORK/NAME.oci, an OCI image layout of a root file system tar and a layer with our own files."""
import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sys
import tarfile

name, work, app = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
USERS = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:999::/data:/bin/sh\npostgres:x:998:998::/var/lib/postgresql:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUPS = "root:x:0:\nredis:x:999:\npostgres:x:998:\nnogroup:x:65534:\n"
IMAGES = {
    "vote": ("app", ["python3", "/app/vote.py"], "65534", []),
    "worker": ("app", ["python3", "/app/worker.py"], "65534", []),
    "result": ("app", ["python3", "/app/result.py"], "65534", []),
    "redis": ("redis", ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--dir", "/data", "--appendonly", "yes"], "redis", []),
    "db": ("db", ["/bin/busybox", "sh", "/app/db.sh"], "postgres", ["PGDATA=/var/lib/postgresql/data"]),
}
base, command, user, env = IMAGES[name]
root = work / f"{name}.oci"
blobs = root / "blobs/sha256"
blobs.mkdir(parents=True)


def blob(data):
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def own_files():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        def add(path, data=None, mode=0o644, owner=0):
            i = tarfile.TarInfo(path)
            i.mode, i.uid, i.gid = mode, owner, owner
            if data is None:
                i.type = tarfile.DIRTYPE
                return tar.addfile(i)
            i.size = len(data)
            tar.addfile(i, io.BytesIO(data))
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(shell)
        add("app", mode=0o755)
        for f in sorted(app.iterdir()):
            add(f"app/{f.name}", f.read_bytes(), 0o755)
        add("etc/passwd", USERS.encode())
        add("etc/group", GROUPS.encode())
        add("data", mode=0o755, owner=999)
        add("var/lib/postgresql/data", mode=0o700, owner=998)
        add("tmp", mode=0o1777)
    return out.getvalue()


# The large layer is compressed once and shared by the images that are made from it.
compressed, diff = work / f"{base}.tar.gz", work / f"{base}.diff"
if not compressed.exists():
    data = (work / f"{base}.tar").read_bytes()
    diff.write_text("sha256:" + hashlib.sha256(data).hexdigest())
    with open(compressed, "wb") as f, gzip.GzipFile(fileobj=f, mode="wb", compresslevel=1, mtime=0) as z:
        z.write(data)
digest = hashlib.sha256(compressed.read_bytes()).hexdigest()
shutil.copy(compressed, blobs / digest)
own = own_files()
layers = [{"digest": "sha256:" + digest, "size": compressed.stat().st_size}, blob(gzip.compress(own, mtime=0))]
# PostgreSQL ends at once on SIGINT; on SIGTERM it would wait for its clients.
stop = {"StopSignal": "SIGINT"} if name == "db" else {}
config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": command, "User": user, "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED=1", *env], **stop},
          "rootfs": {"type": "layers", "diff_ids": [diff.read_text(), "sha256:" + hashlib.sha256(own).hexdigest()]}}
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **blob(json.dumps(config).encode())},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **l} for l in layers]}
index = {"schemaVersion": 2, "manifests": [{"mediaType": manifest["mediaType"], **blob(json.dumps(manifest).encode()),
                                            "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}
(root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
(root / "index.json").write_text(json.dumps(index))
