"""Volumes on two nodes: a StatefulSet's claims become directories of the nodes its pods were given, stay with them, and go when they are deleted."""

import images
from harness import Cluster, eventually

DB = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 2
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000}
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: db}}}
      containers:
        - name: db
          image: IMAGE
          command: [sh, -c, 'echo "$(hostname)" >> /data/starts && exec sleep 100000']
          volumeMounts: [{name: data, mountPath: /data}]
          readinessProbe: {exec: {command: [test, -s, /data/starts]}, periodSeconds: 1}
  volumeClaimTemplates:
    - metadata: {name: data}
      spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""

STATIC = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: small, labels: {tier: fast}}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], storageClassName: "", hostPath: {path: DIR/small}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: big, labels: {tier: fast}}
spec: {capacity: {storage: 5Gi}, accessModes: [ReadWriteOnce], storageClassName: "", hostPath: {path: DIR/big}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: wanted}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 512Mi}}, selector: {matchLabels: {tier: fast}}}
"""

SCRATCH = """
apiVersion: v1
kind: Pod
metadata: {name: scratch}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: c
      image: IMAGE
      command: [sh, -c, 'touch /scratch/x && exec sleep 100000']
      volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes:
    - name: scratch
      ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}
"""


class Storage:
    def __init__(self, c):
        self.c = c
        c.start_registry()
        self.image = c.push(images.busybox(c.dir / "busybox"), "busybox")

    def _bound(self, count):
        claims = self.c.get("pvc")["items"]
        return len(claims) == count and all(p["status"]["phase"] == "Bound" for p in claims) and claims

    def _directories(self):
        return sorted(p.name for n in self.c.nodes for p in (n.data / "storage").glob("pvc-*"))

    def a_statefulset_gets_a_directory_on_each_node(self):
        c = self.c
        assert c.get("storageclass", "local-path")["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
        c.apply(DB.replace("IMAGE", self.image))
        pods = c.wait_running("app=db", 2, seconds=60)
        assert {p["spec"]["nodeName"] for p in pods} == {"n1", "n2"}
        eventually("the claims are bound", lambda: self._bound(2))
        for claim in c.get("pvc")["items"]:
            assert claim["status"]["capacity"]["storage"] == "1Gi" and claim["spec"]["storageClassName"] == "local-path"
            assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        for volume in c.get("pv")["items"]:
            assert volume["status"]["phase"] == "Bound" and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        assert len(self._directories()) == 2
        table = c.kubectl("get", "pvc").stdout
        assert "Bound" in table and "RWO" in table and "local-path" in table, table

    def data_stays_and_so_does_the_pod(self):
        c = self.c
        before = {p["metadata"]["name"]: (p["metadata"]["uid"], p["spec"]["nodeName"]) for p in c.get("pods", "-l", "app=db")["items"]}
        c.kubectl("delete", "pod", "-l", "app=db")

        def again():
            pods = c.wait_running("app=db", 2)
            return all(p["metadata"]["uid"] != before[p["metadata"]["name"]][0] for p in pods) and pods
        pods = eventually("new pods run", again, 60)
        for p in pods or c.get("pods", "-l", "app=db")["items"]:
            name = p["metadata"]["name"]
            assert p["spec"]["nodeName"] == before[name][1]
            assert c.kubectl("exec", name, "--", "cat", "/data/starts").stdout.split() == [name, name]

    def a_claim_in_use_waits_for_its_pod(self):
        c = self.c
        c.kubectl("delete", "pvc", "data-db-0", "--wait=false")
        assert c.get("pvc", "data-db-0")["metadata"]["deletionTimestamp"]
        c.kubectl("scale", "statefulset", "db", "--replicas=0")
        eventually("the claim goes with its pod", lambda: [p["metadata"]["name"] for p in c.get("pvc")["items"]] == ["data-db-1"], 30)
        eventually("its volume and directory go", lambda: len(c.get("pv")["items"]) == 1 and len(self._directories()) == 1, 30)

    def deleted_claims_take_their_directories_along(self):
        c = self.c
        c.kubectl("delete", "statefulset", "db")
        c.kubectl("delete", "pvc", "--all")
        eventually("nothing is left", lambda: not c.get("pv")["items"] and not self._directories(), 30)

    def a_static_volume_is_bound_by_size_and_labels_and_kept(self):
        c = self.c
        c.apply(STATIC.replace("DIR", str(c.dir)))
        eventually("the claim is bound", lambda: self._bound(1), 30)
        assert c.get("pvc", "wanted")["spec"]["volumeName"] == "small"
        assert c.get("pv", "big")["status"]["phase"] == "Available"
        c.kubectl("delete", "pvc", "wanted")
        eventually("the volume is released", lambda: c.get("pv", "small")["status"]["phase"] == "Released", 30)
        c.kubectl("delete", "pv", "small", "big")

    def an_ephemeral_volume_lives_as_long_as_its_pod(self):
        c = self.c
        c.apply(SCRATCH.replace("IMAGE", self.image))
        eventually("the pod runs", lambda: c.get("pod", "scratch")["status"]["phase"] == "Running", 30)
        assert c.get("pvc", "scratch-scratch")["metadata"]["ownerReferences"][0]["kind"] == "Pod"
        c.kubectl("delete", "pod", "scratch")
        eventually("nothing is left", lambda: not c.get("pvc")["items"] and not c.get("pv")["items"] and not self._directories(), 30)


def scenario():
    with Cluster(nodes=2) as c:
        c.start()
        s = Storage(c)
        for name in [n for n in vars(Storage) if n[0] != "_"]:
            yield name.replace("_", " "), getattr(s, name)
        yield "the control plane lacked no rights", c.the_control_plane_lacked_no_rights
