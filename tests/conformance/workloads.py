"""Scales, revisions, jobs and disruption budgets, with pods where pods are what it is about."""
import json

from client import STRATEGIC, contains, must_contain
from harness import Failure, eventually
from lifecycle import SELECTOR, TEMPLATE


class Workloads:
    def __init__(self, api):
        self.api = api
        self.ns = "workloads"
        self.path = f"/api/v1/namespaces/{self.ns}"

    # --- scale

    def a_scale_is_read_written_and_patched(self):
        api = self.api
        for root, plural, selector in (("/apis/apps/v1", "deployments", SELECTOR), ("/apis/apps/v1", "replicasets", SELECTOR),
                                       ("/apis/apps/v1", "statefulsets", SELECTOR), ("/api/v1", "replicationcontrollers", {"app": "row"})):
            path = f"{root}/namespaces/{self.ns}/{plural}"
            listed = {r["name"]: r for r in api.get(root)["resources"]}[f"{plural}/scale"]
            must_contain(listed, {"group": "autoscaling", "version": "v1", "kind": "Scale"})
            api.create(path, {"metadata": {"name": "scaled"}, "spec": {"replicas": 1, "selector": selector, "template": TEMPLATE,
                                                                      **({"serviceName": "x"} if plural == "statefulsets" else {})}})
            eventually("a pod", lambda: api.get(f"{path}/scaled")["status"].get("replicas") == 1, 10)
            scale = must_contain(api.get(f"{path}/scaled/scale"), {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 1},
                                                                  "status": {"replicas": 1, "selector": "app=row"}})
            scale["spec"]["replicas"] = 2
            assert api.put(f"{path}/scaled/scale", scale)["spec"]["replicas"] == 2
            assert api.put(f"{path}/scaled/scale", scale, code=409)["reason"] == "Conflict"
            assert api.patch(f"{path}/scaled/scale", {"spec": {"replicas": 4}}, type=STRATEGIC)["spec"]["replicas"] == 4
            o = api.get(f"{path}/scaled")
            assert o["spec"]["replicas"] == 4 and o["metadata"]["generation"] == 3, o["metadata"]
            assert api.patch(f"{path}/scaled/scale", {"spec": {"replicas": -1}}, code=422)["reason"] == "Invalid"
            api.delete(f"{path}/scaled", {"propagationPolicy": "Foreground", "gracePeriodSeconds": 0})
            api.gone(f"{path}/scaled")

    def the_revisions_of_a_daemon_set_are_kept(self):
        api, path = self.api, f"/apis/apps/v1/namespaces/{self.ns}"
        template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": {"no": "node"}, "terminationGracePeriodSeconds": 0}}
        owner = api.create(f"{path}/daemonsets", {"metadata": {"name": "d"}, "spec": {"selector": SELECTOR, "template": template}})
        revisions = lambda **q: api.get(f"{path}/controllerrevisions", labelSelector="app=row", **q)["items"]
        first = eventually("the first", lambda: len(revisions()) == 1 and revisions()[0], 10)
        must_contain(first, {"revision": 1, "metadata": {"ownerReferences": [{"kind": "DaemonSet", "uid": owner["metadata"]["uid"],
            "controller": True}]}})
        assert first["data"]["spec"]["template"]["$patch"] == "replace" and first["metadata"]["labels"]["controller-revision-hash"]
        name = first["metadata"]["name"]
        must_contain(api.patch(f"{path}/controllerrevisions/{name}", {"metadata": {"labels": {name: "patched"}}}),
            {"metadata": {"labels": {name: "patched"}}})
        other = api.create(f"{path}/controllerrevisions", {"metadata": {"name": "other", "labels": {"app": "row"},
            "ownerReferences": first["metadata"][
            "ownerReferences"]}, "data": first["data"], "revision": 3})
        other["metadata"]["labels"]["updated"] = "yes"
        eventually("an update", lambda: api.ask("PUT", f"{path}/controllerrevisions/other",
            {**api.get(f"{path}/controllerrevisions/other"), "metadata": {
            **api.get(f"{path}/controllerrevisions/other")["metadata"], "labels": other["metadata"]["labels"]}}).code in (200, 404), 5)
        api.delete(f"{path}/controllerrevisions/{name}")
        eventually("one remains or is made anew", lambda: len(revisions()) >= 1 and name not in {r["metadata"]["uid"] for r in revisions()},
            10)
        api.patch(f"{path}/daemonsets/d", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}})
        eventually("the next", lambda: max(r["revision"] for r in revisions()) >= 2
            and len({json.dumps(r["data"]) for r in revisions()}) >= 2, 10)
        api.delete(f"{path}/controllerrevisions", labelSelector="app=row")
        api.patch(f"{path}/daemonsets/d", {"metadata": {"annotations": {"a": "b"}}})
        eventually("the current one is back", lambda: [r["data"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for r in revisions()] == [1], 10)
        api.delete(f"{path}/daemonsets/d", {"propagationPolicy": "Background"})

    # --- jobs

    def _job(self, name, command, env=None, restart="Never", **spec):
        container = {"name": "c", "image": self.api.image, "command": ["sh", "-c", command], **({"env": env} if env else {})}
        body = {"metadata": {"name": name}, "spec": {"template": {"spec": {"restartPolicy": restart, "terminationGracePeriodSeconds": 0,
                                                                          "containers": [container]}}, **spec}}
        return self.api.create(f"/apis/batch/v1/namespaces/{self.ns}/jobs", body)

    def _get(self, name):
        return self.api.get(f"/apis/batch/v1/namespaces/{self.ns}/jobs/{name}")

    def _ends(self, name, kind, reason, **status):
        """Waits for the last condition, then for the rest of the status at once: whoever sees the end sees all of it."""
        def end():
            return {c["type"]: c for c in self._get(name)["status"].get("conditions", []) if c["status"] == "True"}.get(kind)
        try:
            condition = eventually(f"{name} is {kind}", end, 25, 0.1)
            assert condition.get("reason") == reason, condition
            must_contain(self._get(name)["status"], status)
        except AssertionError as e:
            raise Failure(f"{e}\n{json.dumps(self._get(name)['status'], indent=1)}")
        return self._get(name)

    def indexed_jobs_count_their_indexes(self):
        self._job("indexed", 'test "$JOB_COMPLETION_INDEX" = "$(hostname | sed s/indexed-//)" && test $JOB_COMPLETION_INDEX = "$A"',
            completions=4,
                  parallelism=2, completionMode="Indexed", env=[{"name": "A", "valueFrom": {"fieldRef": {
                      "fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}])
        done = self._ends("indexed", "Complete", "CompletionsReached", succeeded=4, completedIndexes="0-3", ready=0, terminating=0)
        assert done["status"]["completionTime"] and not done["status"].get("failed") and done["status"].get("uncountedTerminatedPods",
            {}) == {}
        assert [c["type"] for c in done["status"]["conditions"]] == ["SuccessCriteriaMet", "Complete"], done["status"]
        pods = self.api.get(f"{self.path}/pods", labelSelector="batch.kubernetes.io/job-name=indexed")["items"]
        assert sorted(p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in pods) == list("0123")
        assert all(p["metadata"]["name"].startswith(f"indexed-{p['spec']['hostname'][-1]}-") for p in pods)

    def an_exit_code_fails_a_job_at_once(self):
        self._job("by-code", "exit 42", backoffLimit=10, podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": {
            "containerName": "c", "operator": "In", "values": [42]}}]})
        done = self._ends("by-code", "Failed", "PodFailurePolicy", failed=1)
        assert done["status"]["conditions"][0]["type"] == "FailureTarget" and "exit code 42" in done["status"]["conditions"][0]["message"], done["status"]
        self._job("by-count", "exit 1", backoffLimit=0)
        self._ends("by-count", "Failed", "BackoffLimitExceeded", failed=1)

    def a_disruption_does_not_count_as_a_failure(self):
        api = self.api
        self._job("disrupted", "test -f /v/go || sleep 600", backoffLimit=0,
            podFailurePolicy={"rules": [{"action": "Ignore", "onPodConditions": [
            {"type": "DisruptionTarget", "status": "True"}]}]})
        pods = lambda: api.get(f"{self.path}/pods", labelSelector="job-name=disrupted")["items"]
        one = eventually("its pod runs", lambda: [p for p in pods() if p["status"]["phase"] == "Running"], 15)[0]["metadata"]["name"]
        api.create(f"{self.path}/pods/{one}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": one}})
        other = eventually("another takes its place", lambda: [p for p in pods() if p["status"]["phase"] == "Running"
            and p["metadata"]["name"] != one], 25)
        status = self._get("disrupted")["status"]
        assert not status.get("failed") and status["active"] == 1 and not status.get("conditions"), status
        api.delete(f"/apis/batch/v1/namespaces/{self.ns}/jobs/disrupted", {"propagationPolicy": "Background"})
        api.gone(f"{self.path}/pods/{other[0]['metadata']['name']}")

    def indexes_fail_by_themselves(self):
        odd = "test $((JOB_COMPLETION_INDEX % 2)) = 0"
        self._job("odd", odd, completions=4, parallelism=4, completionMode="Indexed", backoffLimitPerIndex=0)
        self._ends("odd", "Failed", "FailedIndexes", succeeded=2, failed=2, completedIndexes="0,2", failedIndexes="1,3")
        self._job("most", "exit 1", completions=4, parallelism=1, completionMode="Indexed", backoffLimitPerIndex=0, maxFailedIndexes=0)
        done = self._ends("most", "Failed", "MaxFailedIndexesExceeded", failed=1)
        assert done["status"]["failedIndexes"] == "0" and done["status"].get("completedIndexes", "") == "", done["status"]
        self._job("fail-index", f"{odd} || exit 7", completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=5,
            podFailurePolicy={
            "rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [7]}}]})
        self._ends("fail-index", "Failed", "FailedIndexes", succeeded=1, failed=1, completedIndexes="0", failedIndexes="1")

    def some_indexes_are_enough_where_a_policy_says_so(self):
        rest = "test $JOB_COMPLETION_INDEX = 0 || sleep 600"
        for name, rule, done in (("all-rules", {}, "0,1"), ("these", {"succeededIndexes": "0"}, "0"),
            ("so-many", {"succeededCount": 1}, "0")):
            self._job(name, rest if rule else "true", completions=2, parallelism=2, completionMode="Indexed",
                      successPolicy={"rules": [rule or {"succeededIndexes": "0-1"}]})
            o = self._ends(name, "Complete", "SuccessPolicy", completedIndexes=done)
            assert o["status"]["conditions"][0]["type"] == "SuccessCriteriaMet" and not o["status"].get("active"), o["status"]
            eventually("no pod runs on", lambda: all(p["status"]["phase"] == "Succeeded" or p["metadata"].get("deletionTimestamp")
                or p["status"]["phase"] == "Failed"
                       for p in self.api.get(f"{self.path}/pods", labelSelector=f"job-name={name}")["items"]), 10)

    def a_job_is_suspended_resumed_and_deleted(self):
        api, path = self.api, f"/apis/batch/v1/namespaces/{self.ns}/jobs"
        self._job("halted", "true", suspend=True)
        c = eventually("it says so", lambda: self._get("halted")["status"]["conditions"], 10)
        must_contain(c, [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}])
        assert "startTime" not in self._get("halted")["status"]
        api.patch(f"{path}/halted", {"spec": {"suspend": False}})
        done = self._ends("halted", "Complete", "CompletionsReached", succeeded=1)
        assert any(c["type"] == "Suspended" and c["status"] == "False"
            and c["reason"] == "JobResumed" for c in done["status"]["conditions"])
        assert len(api.get("/apis/batch/v1/jobs", fieldSelector="status.successful=1,metadata.name=halted")["items"]) == 1
        api.delete(path, {"propagationPolicy": "Background"})
        eventually("their pods go along", lambda: not api.get(f"{self.path}/pods")["items"], 15)

    # --- disruption

    def a_budget_counts_and_holds_up_evictions(self):
        api, path = self.api, f"/apis/policy/v1/namespaces/{self.ns}/poddisruptionbudgets"
        budget = api.create(path, {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"b": "b"}}}})
        assert {"currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"} <= set(budget["status"]), budget
        for n in "12":
            api.create(f"{self.path}/pods", {"metadata": {"name": f"b{n}", "labels": {"b": "b"}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "c", "image": api.image, "command": ["sleep", "600"]}]}})
        status = lambda: api.get(f"{path}/b/status")["status"]
        eventually("both are counted", lambda: contains(status(),
            {"currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 2}), 15)
        must_contain(status(), {"observedGeneration": 1, "conditions": [{"type": "DisruptionAllowed", "status": "True",
            "reason": "SufficientPods"}]})
        api.patch(f"{path}/b", {"spec": {"minAvailable": 2}})
        eventually("none may go", lambda: contains(status(), {"disruptionsAllowed": 0, "observedGeneration": 2}), 10)
        evict = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "b1", "namespace": self.ns}}
        a = api.create(f"{self.path}/pods/b1/eviction", evict, code=429)
        must_contain(a, {"reason": "TooManyRequests", "details": {"causes": [{"reason": "DisruptionBudget"}]}})
        assert "The disruption budget b needs 2 healthy pods and has 2 currently" in a["details"]["causes"][0]["message"], a
        api.delete(path, labelSelector="!none")
        api.create(f"{self.path}/pods/b1/eviction", evict, code=201)
        api.gone(f"{self.path}/pods/b1")
        api.delete(f"{self.path}/pods/b2", {"gracePeriodSeconds": 0})

    def generations_of_a_pod_count_what_is_wanted(self):
        api, path = self.api, f"{self.path}/pods"
        pod = api.create(path, {"metadata": {"name": "g", "generation": 100}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [
            {"name": "c", "image": api.image, "command": ["sleep", "600"]}]}})
        assert pod["metadata"]["generation"] == 1
        seen = lambda n: contains(api.get(f"{path}/g"), {"metadata": {"generation": n},
            "status": {"observedGeneration": n, "phase": "Running"}})
        eventually("the first is observed", lambda: seen(1), 15)
        toleration = {"key": "x", "operator": "Exists", "effect": "NoExecute"}
        steps = [("", {"metadata": {"labels": {"a": "b"}}}, 1), ("", {"spec": {"activeDeadlineSeconds": 6000}}, 2),
                 ("", {"spec": {"tolerations": [*api.get(f"{path}/g")["spec"]["tolerations"], toleration]}}, 3),
                 ("", {"spec": {"activeDeadlineSeconds": 6000}}, 3),
                 ("/ephemeralcontainers", {"spec": {"ephemeralContainers": [{"name": "e", "image": api.image, "command": ["true"]}]}}, 4),
                 ("/resize", {"spec": {"containers": [{"name": "c", "resources": {}}]}}, 4), ("/status", {"status": {"message": "x"}}, 4)]
        for sub, patch, generation in steps:
            assert api.patch(f"{path}/g{sub}", patch, type=STRATEGIC)["metadata"]["generation"] == generation, (sub, patch)
        eventually("the last is observed", lambda: seen(4), 10)
        for i in range(30):
            api.patch(f"{path}/g", {"spec": {"activeDeadlineSeconds": 5000 - i}})
        eventually("many are observed", lambda: seen(34), 10)
        assert api.delete(f"{path}/g")["metadata"]["generation"] == 35
        api.gone(f"{path}/g")

    def bundles_of_trust_reach_pods_and_follow(self):
        api, path = self.api, "/apis/certificates.k8s.io/v1beta1/clustertrustbundles"
        one, two, three = api.made["PEMS"]
        signed = lambda name, pem, **labels: api.create(path,
            {"metadata": {"name": f"example.com:trust:{name}", "labels": labels}, "spec": {
            "signerName": "example.com/trust", "trustBundle": pem}})
        api.create(path, {"metadata": {"name": "by-name"}, "spec": {"trustBundle": "some words\n" + one}})
        signed("a", one, live="yes")
        signed("b", two + one, live="yes")
        signed("c", three, live="no")
        source = lambda at, **kw: {"clusterTrustBundle": {"path": at, **kw}}
        signer = {"signerName": "example.com/trust"}
        sources = [source("name", name="by-name"), source("signer", **signer, labelSelector={"matchLabels": {"live": "yes"}}),
                   source("all", **signer, labelSelector={}), source("none", **signer, optional=True),
                   source("absent", name="absent", optional=True)]
        api.create(f"{self.path}/pods", {"metadata": {"name": "trust"}, "spec": {
            "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "projected": {"sources": sources}},
                {"name": "w", "projected": {"sources": [
                source("later", name="later")]}}],
            "containers": [{"name": "c", "image": api.image, "command": ["sleep", "600"],
                "volumeMounts": [{"name": n, "mountPath": f"/{n}"} for n in "vw"]}]}})

        def missed():
            return any("FailedMount" == e["reason"] and "later" in e["message"] for e in api.get(f"{self.path}/events",
                fieldSelector="involvedObject.name=trust")["items"])
        eventually("what is missing is said", missed, 10)
        api.create(path, {"metadata": {"name": "later"}, "spec": {"trustBundle": one}})
        eventually("then it runs", lambda: api.get(f"{self.path}/pods/trust")["status"]["phase"] == "Running", 30)

        def file(name):
            text = api.cluster.kubectl("exec", "-n", self.ns, "trust", "--", "cat", name).stdout
            return sorted(x + "-----END CERTIFICATE-----\n" for x in text.split("-----END CERTIFICATE-----\n")[:-1]) if text else []
        assert file("/v/name") == file("/w/later") == [one] and file("/v/signer") == sorted([one, two]) and file("/v/all") == sorted([one,
            two, three])
        assert file("/v/none") == file("/v/absent") == []
        api.patch(f"{path}/by-name", {"spec": {"trustBundle": two}})
        eventually("the file follows", lambda: file("/v/name") == [two], 10)
        api.delete(f"{path}/example.com:trust:c")
        eventually("one less", lambda: file("/v/all") == sorted([one, two]), 10)
        api.delete(path)
        api.delete(f"{self.path}/pods/trust")


def cases(api):
    api.namespace("workloads")
    own = Workloads(api)
    for name in [n for n in vars(Workloads) if n[0] != "_"]:
        yield name.replace("_", " "), getattr(own, name)
