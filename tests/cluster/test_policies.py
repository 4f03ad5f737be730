"""One node: what namespaces say about pods, as kubectl shows it; quotas; an autoscaler that follows the load."""

import images
from harness import Cluster, eventually

STRICT = """
apiVersion: v1
kind: Namespace
metadata: {name: strict, labels: {pod-security.kubernetes.io/enforce: baseline, pod-security.kubernetes.io/warn: restricted}}
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: strict}
spec:
  MORE
  containers: [{name: c, image: IMAGE, command: [sleep, "100000"]}]
"""

QUOTA = """
apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: strict}
spec: {hard: {pods: "1", count/configmaps: "3"}}
"""

LOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: load}
spec:
  selector: {matchLabels: {app: load}}
  template:
    metadata: {labels: {app: load}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: c, image: IMAGE, command: [sh, -c, 'while true; do :; done'], resources: {requests: {cpu: 20m}, limits: {cpu: 60m}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: load}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: load}
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
"""


class Policies:
    def __init__(self, c):
        self.c = c
        c.start_registry()
        self.image = c.push(images.busybox(c.dir / "busybox"), "busybox")

    def _pod(self, name, more="{}"):
        text = POD.replace("NAME", name).replace("IMAGE", self.image)
        return self.c.apply(text.replace("  MORE\n", f"  {more}\n" if more != "{}" else ""), check=False)

    def a_namespace_refuses_and_warns_of_pods(self):
        c = self.c
        c.apply(STRICT)
        eventually("the namespace's account is there", lambda: c.get("serviceaccount", "default", "-n", "strict"), 10)
        r = self._pod("host", "hostNetwork: true")
        assert r.returncode and 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in r.stderr, r.stderr
        r = self._pod("plain")
        assert r.returncode == 0 and 'Warning: would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in r.stderr, r.stderr

    def a_quota_counts_what_is_there_and_gives_back_what_goes(self):
        c = self.c
        c.apply(QUOTA)
        used = lambda: c.get("quota", "few", "-n", "strict").get("status", {}).get("used", {})
        eventually("the quota is counted", lambda: used() == {"pods": "1", "count/configmaps": "1"}, 10)
        r = self._pod("second")
        assert r.returncode and "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1" in r.stderr, r.stderr
        c.kubectl("delete", "pod", "plain", "-n", "strict", "--grace-period=0", "--force")
        eventually("it gives back", lambda: used()["pods"] == "0", 10)
        assert self._pod("second").returncode == 0

    def an_autoscaler_follows_the_load(self):
        c = self.c
        c.apply(LOAD.replace("IMAGE", self.image))
        eventually("there are two", lambda: len(c.wait_running("app=load", 2)) == 2, 60)
        h = c.get("hpa", "load")
        assert h["status"]["desiredReplicas"] == 2, h["status"]
        assert {x["type"]: x["status"] for x in h["status"]["conditions"]}["ScalingActive"] == "True", h["status"]
        assert "/50%" in c.kubectl("get", "hpa", "load").stdout


def scenario():
    with Cluster(nodes=1) as c:
        c.start()
        p = Policies(c)
        for name in [n for n in vars(Policies) if n[0] != "_"]:
            yield name.replace("_", " "), getattr(p, name)
        yield "the control plane lacked no rights", c.the_control_plane_lacked_no_rights
