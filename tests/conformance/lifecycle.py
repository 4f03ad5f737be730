"""Every kind that is data to the API goes through the same life: a row is (resource, what its objects have beside metadata, what differs).

What differs: `status` is written through the subresource and read back; `change` is merged into it and must hold;
`names` where they are not free; `generation` for kinds that count changes of what is wanted; `cluster` for those in no namespace.
"""
import copy
import json

from client import APPLY, JSON_PATCH, MERGE, PROTOBUF, STRATEGIC, contains, must_contain
from harness import eventually

TEMPLATE = {"metadata": {"labels": {"app": "row"}}, "spec": {"schedulerName": "nobody",
    "containers": [{"name": "c", "image": "example.org/none"}]}}
JOB = {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}
SELECTOR = {"matchLabels": {"app": "row"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": "none"}
INVOLVED = {"kind": "Pod", "namespace": "rows", "name": "p"}
TIME = "2026-01-01T00:00:00.000000Z"
DRA = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "none"}}]}}
ROLE = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
BINDING = {"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]}


def condition(kind="StatusUpdate", **more):
    return {"conditions": [{"type": kind, "status": "True", "reason": "E2E", "message": "Set from a test", **more}]}


NOW = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
INGRESS = {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}


def ref(kind, name="none"):
    return {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}}


def row(resource, body=None, **more):
    return resource, body or {}, more


ROWS = [
    row("v1/pods", {"spec": TEMPLATE["spec"]}, status=condition(), change={"spec": {"activeDeadlineSeconds": 900}}, generation=True),
    row("v1/replicationcontrollers", {"spec": {"replicas": 0, "selector": {"app": "row"}, "template": TEMPLATE}}, status=condition(),
        generation=True,
        change={"spec": {"minReadySeconds": 7}}),
    row("v1/services", {"spec": {"type": "LoadBalancer", "loadBalancerClass": "example.com/none", "ports": [{"port": 80}]}}, status=INGRESS,
        change={"spec": {"sessionAffinity": "ClientIP"}}),
    row("v1/endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]},
        change={"subsets": [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}]}),
    row("v1/events", {"involvedObject": INVOLVED, "message": "m", "reason": "Test", "type": "Normal"},
        change={"message": "changed", "count": 2}),
    row("events.k8s.io/v1/events", {"regarding": INVOLVED, "eventTime": TIME, "note": "m", "reason": "Test", "type": "Normal",
        "action": "Do",
                                    "reportingController": "test", "reportingInstance": "test-1"},
        change={"series": {"count": 100, "lastObservedTime": TIME}}),
    row("v1/limitranges", {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}},
        change={"spec": {"limits": [{"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "2"}}]}}),
    row("v1/resourcequotas", {"spec": {"hard": {"cpu": "1000"}}}, status={"hard": {"cpu": "3"}, "used": {"cpu": "0"}},
        change={"spec": {"hard": {"cpu": "2k"}}}),
    row("v1/configmaps", {"data": {"a": "b"}}, change={"data": {"a": "c"}, "immutable": True}),
    row("v1/secrets", {"data": {"a": "Yg=="}, "type": "Opaque"}, change={"data": {"a": "Yw=="}}),
    row("v1/serviceaccounts", {}, change={"automountServiceAccountToken": False}),
    row("v1/podtemplates", {"template": TEMPLATE}, change={"template": {"metadata": {"annotations": {"x": "y"}}}}),
    row("v1/persistentvolumes", {"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Mi"}, "storageClassName": "none",
                                          "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}}, cluster=True,
        status={"message": "StatusPatched", "reason": "E2E"}, change={"spec": {"mountOptions": ["noatime"]}}),
    row("v1/persistentvolumeclaims", {"spec": CLAIM}, status=condition("StatusPatched", **NOW),
        change={"metadata": {"labels": {"x": "y"}}}),
    row("v1/nodes", {"spec": {"unschedulable": True}}, cluster=True, change={"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
        status=condition(lastHeartbeatTime="2026-01-01T00:00:00Z")),
    row("apps/v1/deployments", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}, status=condition(), generation=True,
        change={"spec": {"minReadySeconds": 7}}),
    row("apps/v1/replicasets", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}}, status=condition(), generation=True,
        change={"spec": {"minReadySeconds": 7}}),
    row("apps/v1/statefulsets", {"spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE, "serviceName": "none"}},
        status=condition(),
        generation=True, change={"spec": {"minReadySeconds": 7}}),
    row("apps/v1/daemonsets", {"spec": {"selector": SELECTOR,
        "template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": {"no": "node"}}}}},
        status=condition(), generation=True, change={"spec": {"minReadySeconds": 7}}),
    row("apps/v1/controllerrevisions", {"data": {"spec": {"any": ["thing"]}}, "revision": 1}, change={"revision": 3}),
    row("batch/v1/jobs", {"spec": {"suspend": True, **JOB}}, status=condition(), generation=True, change={"spec": {"parallelism": 2}}),
    row("batch/v1/cronjobs", {"spec": {"suspend": True, "schedule": "* */1 * * ?", "jobTemplate": {"spec": JOB}}}, generation=True,
        status={"lastScheduleTime": "2026-01-01T00:00:00Z"}, change={"spec": {"schedule": "49 * * * ?"}}),
    row("autoscaling/v1/horizontalpodautoscalers", {"spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}},
        status={"currentReplicas": 0, "desiredReplicas": 3}, change={"spec": {"maxReplicas": 3}}),
    row("autoscaling/v2/horizontalpodautoscalers", {"spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}}},
        status={"desiredReplicas": 3}, change={"spec": {"maxReplicas": 3}}),
    row("networking.k8s.io/v1/ingresses", {"spec": {"defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}}}},
        status=INGRESS, generation=True, change={"spec": {"ingressClassName": "none"}}),
    row("networking.k8s.io/v1/ingressclasses", {"spec": {"controller": "example.com/controller"}}, cluster=True, generation=True,
        change={"spec": {"parameters": {"apiGroup": "k8s.io", "kind": "X", "name": "y", "scope": "Cluster"}}}),
    row("networking.k8s.io/v1/networkpolicies", {"spec": {"podSelector": {}}}, generation=True,
        change={"spec": {"policyTypes": ["Egress"]}}),
    row("networking.k8s.io/v1/servicecidrs", {"spec": {"cidrs": ["10.188.%d.0/24"]}}, cluster=True, status=condition(**NOW)),
    row("networking.k8s.io/v1/ipaddresses", {"spec": {"parentRef": {"resource": "services", "namespace": "rows", "name": "none"}}},
        cluster=True,
        names=["10.199.0.1", "10.199.0.2", "10.199.0.3"]),
    row("discovery.k8s.io/v1/endpointslices", {"addressType": "IPv4", "endpoints": [{"addresses": ["1.2.3.4"]}], "ports": []},
        generation=True,
        change={"endpoints": [{"addresses": ["1.2.3.5"], "conditions": {"ready": False}}]}),
    row("policy/v1/poddisruptionbudgets", {"spec": {"minAvailable": 1, "selector": SELECTOR}},
        status={"disruptedPods": {"old": "2026-01-01T00:00:00Z"}},
        generation=True, change={"spec": {"minAvailable": "50%"}}),
    row("rbac.authorization.k8s.io/v1/roles", ROLE, change={"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}),
    row("rbac.authorization.k8s.io/v1/clusterroles", ROLE, cluster=True,
        change={"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["list"]}]}),
    row("rbac.authorization.k8s.io/v1/rolebindings", {**BINDING, **ref("Role")},
        change={"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "joe"}]}),
    row("rbac.authorization.k8s.io/v1/clusterrolebindings", {**BINDING, **ref("ClusterRole")}, cluster=True,
        change={"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "joe"}]}),
    row("storage.k8s.io/v1/storageclasses", {"provisioner": "example.com/p"}, cluster=True, change={"allowVolumeExpansion": True}),
    row("storage.k8s.io/v1/volumeattachments", {"spec": {"attacher": "a.example.com", "nodeName": "none",
        "source": {"persistentVolumeName": "none"}}},
        cluster=True, status={"attached": True, "attachmentMetadata": {"a": "b"}}),
    row("storage.k8s.io/v1/csidrivers", {"spec": {"attachRequired": False, "podInfoOnMount": True, "volumeLifecycleModes": ["Ephemeral"]}},
        cluster=True,
        generation=True, change={"spec": {"requiresRepublish": True}}),
    row("storage.k8s.io/v1/csinodes", {"spec": {"drivers": []}}, cluster=True,
        change={"spec": {"drivers": [{"name": "example.com", "nodeID": "i", "topologyKeys": ["a"]}]}}),
    row("storage.k8s.io/v1/csistoragecapacities", {"storageClassName": "none", "capacity": "100Gi", "nodeTopology": {}},
        change={"capacity": "200Gi"}),
    row("storage.k8s.io/v1/volumeattributesclasses", {"driverName": "d.example.com", "parameters": {"iops": "2"}}, cluster=True),
    row("scheduling.k8s.io/v1/priorityclasses", {"value": 5}, cluster=True, generation="once", change={"description": "words"}),
    row("coordination.k8s.io/v1/leases", {"spec": {"holderIdentity": "me", "leaseDurationSeconds": 30, "acquireTime": TIME,
        "renewTime": TIME}},
        change={"spec": {"holderIdentity": "you", "leaseTransitions": 1}}),
    row("flowcontrol.apiserver.k8s.io/v1/flowschemas", {"spec": {
        "matchingPrecedence": 9999, "priorityLevelConfiguration": {"name": "global-default"}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "example-user"}}],
                   "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}}, cluster=True, generation=True,
        status=condition("Dangling", **NOW), change={"spec": {"matchingPrecedence": 9998}}),
    row("flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations", {"spec": {"type": "Limited", "limited": {
        "nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}}, cluster=True, generation=True,
        status=condition("Test", **NOW),
        change={"spec": {"limited": {"nominalConcurrencyShares": 4, "borrowingLimitPercent": 50}}}),
    row("resource.k8s.io/v1/deviceclasses", {"spec": {}}, cluster=True, generation=True,
        change={"spec": {"selectors": [{"cel": {"expression": 'device.driver == "example.com"'}}]}}),
    row("resource.k8s.io/v1/resourceclaims", {"spec": DRA}, status={"allocation": {"devices": {"results": [
        {"request": "r", "driver": "example.com", "pool": "p", "device": "d"}]}}}),
    row("resource.k8s.io/v1/resourceclaimtemplates", {"spec": {"spec": DRA}}),
    row("resource.k8s.io/v1/resourceslices", {"spec": {"driver": "example.com", "nodeName": "none", "devices": [{"name": "d"}],
                                                       "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}}}, cluster=True,
                                                       generation=True,
        change={"spec": {"devices": [{"name": "e", "attributes": {"a": {"string": "b"}}}]}}),
    row("certificates.k8s.io/v1/certificatesigningrequests",
        {"spec": {"request": "CSR", "signerName": "example.com/signer", "usages": ["client auth"],
                                                                       "expirationSeconds": 3600}}, cluster=True,
        status=condition("StatusUpdate"), approval=condition("ApprovalPatch")),
    row("certificates.k8s.io/v1beta1/clustertrustbundles", {"spec": {"trustBundle": "PEM"}}, cluster=True),
    row("node.k8s.io/v1/runtimeclasses", {"handler": "example"}, cluster=True, change={"overhead": {"podFixed": {"cpu": "10m"}}}),
]


class Life:
    """One kind's. Objects a, b and c are told from those of others by the label `row`."""

    def __init__(self, api, resource, body, more):
        self.api = api
        self.version, self.plural = resource.rsplit("/", 1)
        root = "/api/v1" if self.version == "v1" else f"/apis/{self.version}"
        self.everywhere = f"{root}/{self.plural}"
        self.path = self.everywhere if more.get("cluster") else f"{root}/namespaces/rows/{self.plural}"
        self.root, self.body, self.more = root, body, more
        self.label = resource.replace("/", ".")
        self.names = more.get("names", [f"row-{self.version.replace('/', '-')}-{self.plural}-{x}" for x in "abc"])

    def object(self, i):
        text = json.dumps({**self.body, "metadata": {"name": self.names[i], "labels": {"row": self.label}}})
        for word in ("CSR", "PEM"):
            text = text.replace(f'"{word}"', json.dumps(self.api.made[word]))
        return json.loads(text.replace("%d", str(i)))

    def selected(self, path):
        return {o["metadata"]["name"] for o in self.api.get(path, labelSelector=f"row={self.label}")["items"]}

    def run(self):
        api, one = self.api, f"{self.path}/{self.names[0]}"
        self.is_discovered()
        begin = api.get(self.path, labelSelector=f"row={self.label}")["metadata"]["resourceVersion"]
        with api.watch(self.path, labelSelector=f"row={self.label}", resourceVersion=begin) as watch:
            made = [api.create(self.path, self.object(i), code=201) for i in range(3)]
            for o in made:
                assert o["metadata"]["uid"] and o["metadata"]["creationTimestamp"] and o["metadata"]["resourceVersion"]
                assert [(m["manager"], m["operation"]) for m in o["metadata"]["managedFields"]] == [("conformance",
                    "Update")], o["metadata"]
                watch.until("ADDED", lambda t, w: t == "ADDED" and w["metadata"]["uid"] == o["metadata"]["uid"])
            assert api.create(self.path, self.object(0), code=409)["reason"] == "AlreadyExists"
            assert self.selected(self.path) == self.selected(self.everywhere) == set(self.names)
            self.changes(one, watch)
            self.status(one, watch, "status")
            self.status(one, watch, "approval")
            self.survives_protobuf(one)
            self.ends(one, watch, made)

    def is_discovered(self):
        listed = {r["name"]: r for r in self.api.get(self.root)["resources"]}
        assert {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"} <= set(listed[self.plural]["verbs"])
        assert listed[self.plural]["namespaced"] == (not self.more.get("cluster")) and listed[self.plural].get("storageVersionHash") is not None
        for sub in ("status", "approval"):
            if sub in self.more:
                assert set(listed[f"{self.plural}/{sub}"]["verbs"]) == {"get", "patch", "update"}

    def changes(self, one, watch):
        api, change = self.api, self.more.get("change")
        before = api.get(one)
        for kind, patch in ((MERGE, {"metadata": {"annotations": {"merge": "yes"}}}),
            (STRATEGIC, {"metadata": {"annotations": {"strategic": "yes"}}}),
                            (JSON_PATCH, [{"op": "add", "path": "/metadata/annotations/json", "value": "yes"}])):
            api.patch(one, patch, type=kind)
        o = api.patch(one, {"apiVersion": before["apiVersion"], "kind": before["kind"], "metadata": {"annotations": {"applied": "yes"}}},
            type=APPLY,
                      fieldManager="applier", force="true")
        must_contain(o["metadata"]["annotations"], {k: "yes" for k in ("merge", "strategic", "json", "applied")})
        assert any(m["manager"] == "applier" and m["operation"] == "Apply" for m in o["metadata"]["managedFields"])
        watch.until("the patch", lambda t, w: t == "MODIFIED" and contains(w, {"metadata": {"annotations": {"applied": "yes"}}}))

        def update():  # as clients do: read, change, write, and again where someone was faster
            o = api.get(one)
            o["metadata"]["annotations"]["updated"] = "yes"
            return api.ask("PUT", one, o).code == 200
        eventually("an update", update, 5)
        watch.until("the update", lambda t, w: t == "MODIFIED" and contains(w, {"metadata": {"annotations": {"updated": "yes"}}}))
        stale = copy.deepcopy(before)
        stale["metadata"]["labels"]["late"] = "yes"
        assert api.put(one, stale, code=409)["reason"] == "Conflict"
        generation = api.get(one)["metadata"].get("generation")
        assert (generation is not None) == bool(self.more.get("generation")), generation
        if change:
            after = api.patch(one, change)
            must_contain(after, without_nothing(change))
            assert after["metadata"].get("generation") == (generation if self.more.get("generation") == "once" else generation
                and generation + 1), after["metadata"]

    def status(self, one, watch, sub):
        if sub not in self.more:
            return
        api, wanted, path = self.api, self.more[sub], f"{one}/{sub}"
        spec = self.spec(one)
        assert api.get(path)["metadata"]["name"] == self.names[0]
        o = api.patch(path, {"metadata": {"annotations": {f"patched-{sub}": "true"}}, "status": wanted})
        must_contain(o, {"metadata": {"annotations": {f"patched-{sub}": "true"}}, "status": wanted})
        watch.until(sub, lambda t, w: w["metadata"].get("annotations", {}).get(f"patched-{sub}") == "true"
            and contains(w.get("status"), wanted))

        def update():
            o = api.get(path)
            o["status"] = {**o.get("status", {}), **wanted}
            for c in o["status"].get("conditions", []):
                c["message"] = "updated"
            a = api.ask("PUT", path, o)
            if a.code == 409:
                return False
            assert a.code == 200, a.text
            for c in a.json["status"].get("conditions", []):
                assert c["message"] == "updated"
            return must_contain(a.json["status"], {k: v for k, v in wanted.items() if k != "conditions"}) or True
        eventually("an update of it", update, 5)
        assert self.spec(one) == spec

    def spec(self, one):
        spec = self.api.get(one).get("spec", {})
        return {k: v for k, v in spec.items() if self.plural != "nodes" or k != "taints"}

    def survives_protobuf(self, one):
        def unchanged():
            before = self.api.get(one)
            a = self.api.ask("GET", one, headers={"Accept": PROTOBUF})
            assert a.code == 200 and a.headers["Content-Type"] == PROTOBUF and a.data[:4] == b"k8s\0"
            after = self.api.ask("PUT", one, a.data, type=PROTOBUF)
            assert after.code == 409 or after.json == before, f"{before}\nbecame\n{after.text}"
            return after.code != 409
        eventually("written as it was read", unchanged, 5)

    def ends(self, one, watch, made):
        api = self.api
        api.delete(one, {"propagationPolicy": "Background", "gracePeriodSeconds": 0})
        watch.until("DELETED", lambda t, w: t == "DELETED" and w["metadata"]["uid"] == made[0]["metadata"]["uid"])
        assert api.get(one, code=404)["reason"] == "NotFound"
        result = api.delete(self.path, {"gracePeriodSeconds": 0}, labelSelector=f"row={self.label}")
        assert result["kind"].endswith("List") or result["kind"] == "Status", result
        for o in made[1:]:
            api.gone(f"{self.path}/{o['metadata']['name']}")
        assert self.selected(self.everywhere) == set()


def without_nothing(value):
    return {k: without_nothing(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def cases(api):
    api.namespace("rows")
    for resource, body, more in ROWS:
        yield resource.replace("/", " "), Life(api, resource, body, more).run
