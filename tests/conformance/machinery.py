"""Discovery, namespaces, quota, limits, strict fields, flow control: what is asked of the machinery and of no kind in particular."""
import json

from client import APPLY, Api, contains, must_contain
from harness import eventually

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
DEPLOYMENT = '''{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "%s", "labels": {"app": "x"}%s}, "spec": {"replicas": 0, "paused": true,
  "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}%s}}'''


class Machinery:
    def __init__(self, api):
        self.api = api

    def discovery_comes_in_one_piece_or_by_group(self):
        api = self.api
        core = api.ask("GET", "/api", headers={"Accept": AGGREGATED})
        assert core.headers["Content-Type"] == AGGREGATED and core.headers["ETag"] and "Accept" in core.headers["Vary"], core.headers
        pods = next(r for r in core.json["items"][0]["versions"][0]["resources"] if r["resource"] == "pods")
        must_contain(pods, {"responseKind": {"group": "", "version": "v1", "kind": "Pod"}, "scope": "Namespaced", "singularResource": "pod",
            "shortNames": ["po"],
                            "categories": ["all"]})
        assert {"status", "log", "resize", "eviction"} <= {s["subresource"] for s in pods["subresources"]}
        groups = api.ask("GET", "/apis", headers={"Accept": AGGREGATED})
        same = api.ask("GET", "/apis", headers={"Accept": AGGREGATED, "If-None-Match": groups.headers["ETag"]})
        assert same.code == 304 and not same.data
        listed = api.get("/apis", headers={"Accept": "application/json"})
        assert listed["kind"] == "APIGroupList" and [g["name"] for g in listed["groups"]] == [g["metadata"]["name"] for g in groups.json["items"]]
        assert api.ask("GET", "/apis", headers={"Accept": AGGREGATED + ",application/json"}).json["kind"] == "APIGroupDiscoveryList"
        assert api.ask("GET", "/apis", headers={"Accept": "application/json," + AGGREGATED}).json["kind"] == "APIGroupList"
        for g in listed["groups"]:
            one = api.get("/apis/" + g["name"])
            assert one["kind"] == "APIGroup" and one["preferredVersion"] == g["preferredVersion"] and one["preferredVersion"] in one["versions"]
            for v in g["versions"]:
                by_group = api.get("/apis/" + v["groupVersion"])
                assert by_group["kind"] == "APIResourceList" and by_group["groupVersion"] == v["groupVersion"] and by_group["resources"]
                together = next(x for i in groups.json["items"] if i["metadata"]["name"] == g["name"] for x in i["versions"] if x["version"] == v["version"])
                assert {r["name"] for r in by_group["resources"] if "/" not in r["name"]} >= {r["resource"] for r in together["resources"]}
                assert together["freshness"] == "Current"

    def fields_that_nobody_knows_are_refused_where_asked_for(self):
        api, path = self.api, "/apis/apps/v1/namespaces/machinery/deployments"
        bad = DEPLOYMENT % ("strict", "", ', "unknown": 1, "replicas": 1')
        a = api.create(path, bad, code=400, fieldValidation="Strict")
        assert 'strict decoding error: unknown field "spec.unknown"' in a["message"] and 'duplicate field "spec.replicas"' in a["message"], a
        a = api.create(path, DEPLOYMENT % ("strict", ', "unknownMeta": 1', ""), code=400, fieldValidation="Strict")
        assert 'unknown field "metadata.unknownMeta"' in a["message"], a
        warned = api.ask("POST", path, bad)
        assert warned.code == 201, warned.text
        assert [w for w in warned.headers.get_all("Warning")] == ['299 - "unknown field \\"spec.unknown\\""',
            '299 - "duplicate field \\"spec.replicas\\""'], warned.headers
        a = api.patch(f"{path}/strict", {"spec": {"foo": "bar"}}, code=422, fieldValidation="Strict")
        assert a["reason"] == "Invalid" and 'unknown field "spec.foo"' in a["message"], a
        a = api.patch(f"{path}/strict", bad, type=APPLY, code=(400, 500), fieldManager="m", fieldValidation="Strict")
        assert "unknown" in a["message"], a
        assert api.ask("POST", path, DEPLOYMENT % ("ignored", "", ', "unknown": 1'),
            fieldValidation="Ignore").headers.get_all("Warning") is None

    def a_long_list_comes_in_pages_of_one_state(self):
        api, path = self.api, "/api/v1/namespaces/machinery/podtemplates"
        body = {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
        for i in range(40):
            api.create(path, {"metadata": {"name": f"template-{i:04}"}, **body})
        found, query, versions = [], {}, set()
        while True:
            page = api.get(path, limit=17, **query)
            found += [o["metadata"]["name"] for o in page["items"]]
            versions.add(page["metadata"]["resourceVersion"])
            assert page["metadata"].get("remainingItemCount", 0) == 40 - len(found)
            if not page["metadata"].get("continue"):
                break
            query = {"continue": page["metadata"]["continue"]}
            api.create(path, {"metadata": {"generateName": "zlate-"}, **body})
        assert found == [f"template-{i:04}" for i in range(40)] and len(versions) == 1, (found, versions)
        api.delete(path)
        assert api.get(path)["items"] == []

    def a_flow_schema_takes_the_requests_it_matches(self):
        api, root = self.api, "/apis/flowcontrol.apiserver.k8s.io/v1"
        level = api.create(f"{root}/prioritylevelconfigurations", {"metadata": {"name": "e2e"}, "spec": {"type": "Limited", "limited": {
            "nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}})
        flow = api.create(f"{root}/flowschemas", {"metadata": {"name": "e2e"}, "spec": {
            "matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "e2e"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "example-user"}}],
                                                                                              "nonResourceRules": [{"verbs": ["*"],
                                                                                                  "nonResourceURLs": ["*"]}]}]}})
        user = Api(api.cluster, user="example-user")

        def followed():
            h = user.ask("GET", "/version").headers
            return (h["X-Kubernetes-PF-FlowSchema-UID"], h["X-Kubernetes-PF-PriorityLevel-UID"]) == (flow["metadata"]["uid"],
                level["metadata"]["uid"])
        eventually("the response names them", followed, 10)
        api.delete(f"{root}/flowschemas/e2e")
        api.delete(f"{root}/prioritylevelconfigurations/e2e")
        eventually("the next schema takes over", lambda: not followed(), 10)

    def a_quota_lives_and_its_status_is_put_right(self):
        api, path = self.api, "/api/v1/namespaces/machinery/resourcequotas"
        api.create(path, {"metadata": {"name": "q", "labels": {"e2e": "quota"}},
            "spec": {"hard": {"secrets": "7", "count/leases.coordination.k8s.io": "1"}}})
        status = lambda: api.get(f"{path}/q").get("status")
        eventually("the status", lambda: contains(status(), {"hard": {"secrets": "7", "count/leases.coordination.k8s.io": "1"},
            "used": {"secrets": "0"}}), 10)
        leases = "/apis/coordination.k8s.io/v1/namespaces/machinery/leases"
        api.create(leases, {"metadata": {"name": "one"}, "spec": {}})
        assert "exceeded quota: q" in api.create(leases, {"metadata": {"name": "two"}, "spec": {}}, code=403)["message"]
        api.delete(f"{leases}/one")
        eventually("it is given back", lambda: status()["used"]["count/leases.coordination.k8s.io"] == "0", 10)
        api.patch(f"{path}/q", {"metadata": {"labels": {"q": "patched"}}, "spec": {"hard": {"secrets": "8"}}})
        eventually("the status follows", lambda: status()["hard"]["secrets"] == "8", 10)
        api.patch(f"{path}/q/status", {"status": {"hard": {"secrets": "99"}}})
        eventually("the status is put right", lambda: status()["hard"]["secrets"] == "8", 10)
        assert len(api.get("/api/v1/resourcequotas", labelSelector="e2e=quota,q=patched")["items"]) == 1
        api.delete(path, labelSelector="e2e=quota")
        assert not api.get("/api/v1/resourcequotas", labelSelector="e2e=quota")["items"]

    def a_collection_of_limits_goes_in_its_namespace_only(self):
        api = self.api
        for ns in ("machinery", "machinery-2"):
            api.create(f"/api/v1/namespaces/{ns}/limitranges", {"metadata": {"name": "l", "labels": {"e2e": "limits"}}, "spec": {"limits": [
                {"type": "Container", "default": {"memory": "64Mi"}, "defaultRequest": {"memory": "32Mi"}}]}})
        assert len(api.get("/api/v1/limitranges", labelSelector="e2e=limits")["items"]) == 2
        api.delete("/api/v1/namespaces/machinery/limitranges", labelSelector="e2e=limits")
        left = api.get("/api/v1/limitranges", labelSelector="e2e=limits")["items"]
        assert [o["metadata"]["namespace"] for o in left] == ["machinery-2"]

    def a_namespace_has_status_and_finalizers_of_its_own(self):
        api = self.api
        path = api.namespace("machinery-own")
        must_contain(api.get(path), {"metadata": {"labels": {"kubernetes.io/metadata.name": "machinery-own"}},
            "spec": {"finalizers": ["kubernetes"]},
                                     "status": {"phase": "Active"}})
        condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by a test"}
        assert api.patch(f"{path}/status", {"metadata": {"annotations": {"a": "b"}},
            "status": {"conditions": [condition]}})["status"]["conditions"] == [condition]
        o = api.get(f"{path}/status")
        o["status"]["conditions"].append({**condition, "type": "StatusUpdate"})
        must_contain(api.put(f"{path}/status", o), {"status": {"phase": "Active",
            "conditions": [condition, {**condition, "type": "StatusUpdate"}]}})
        o = api.get(path)
        o["metadata"]["labels"]["updated"] = "yes"
        o["spec"]["finalizers"].append("e2e.example.com/fake")  # by the way of an ordinary update: not taken
        assert api.put(path, o)["spec"]["finalizers"] == ["kubernetes"]
        o = api.get(path)
        o["spec"]["finalizers"].append("e2e.example.com/fake")
        assert api.put(f"{path}/finalize", o)["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fake"]
        assert api.delete(path)["status"]["phase"] == "Terminating"
        eventually("only ours is left", lambda: api.get(path)["spec"]["finalizers"] == ["e2e.example.com/fake"], 15)
        o = api.get(path)
        o["spec"]["finalizers"] = []
        api.put(f"{path}/finalize", o)
        api.gone(path)

    def pods_of_a_namespace_go_before_the_rest(self):
        api = self.api
        path = api.namespace("machinery-order")
        held = {"name": "held", "finalizers": ["example.com/hold"]}
        api.create(f"{path}/pods", {"metadata": held, "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]}})
        api.create(f"{path}/configmaps", {"metadata": {"name": "kept"}})
        api.delete(path)

        def said():
            o = api.get(path)
            c = {c["type"]: c for c in o["status"].get("conditions", [])}
            return o["status"]["phase"] == "Terminating" and c["NamespaceContentRemaining"]["status"] == "True" and "pods. has 1" in \
                c["NamespaceContentRemaining"]["message"] and "example.com/hold" in c["NamespaceFinalizersRemaining"]["message"]
        eventually("the namespace says what it waits for", said, 10)
        assert "deletionTimestamp" in api.get(f"{path}/pods/held")["metadata"]
        assert "deletionTimestamp" not in api.get(f"{path}/configmaps/kept")["metadata"]
        a = api.create(f"{path}/configmaps", {"metadata": {"name": "late"}}, code=403)
        assert a["details"]["causes"][0]["reason"] == "NamespaceTerminating", a
        api.patch(f"{path}/pods/held", {"metadata": {"finalizers": None}})
        api.gone(path)

    def what_cannot_be_changed_is_made_anew(self):
        for plural, data in (("configmaps", "one"), ("secrets", "b25l")):
            api, path = self.api, f"/api/v1/namespaces/machinery/{plural}"
            api.create(path, {"metadata": {"name": "fixed"}, "data": {"k": data}})
            assert api.patch(f"{path}/fixed", {"data": {"k": "dHdv"}, "immutable": True})["immutable"] is True
            for change, field in (({"data": {"k": "eA=="}}, "data"), ({"immutable": False}, "immutable"),
                ({"immutable": None}, "immutable"),
                                  ({"data": None}, "data")):
                a = api.patch(f"{path}/fixed", change, code=422)
                assert a["details"]["causes"][0] == {"reason": "FieldValueForbidden", "field": field,
                                                     "message": "Forbidden: field is immutable when `immutable` is set"}, a
            assert api.patch(f"{path}/fixed", {"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"] == {"a": "b"}
            api.delete(f"{path}/fixed")
            assert "immutable" not in api.create(path, {"metadata": {"name": "fixed"}, "data": {"k": data}})


def cases(api):
    api.namespace("machinery")
    api.namespace("machinery-2")
    own = Machinery(api)
    for name in [n for n in vars(Machinery) if n[0] != "_"]:
        yield name.replace("_", " "), getattr(own, name)
