"""Addresses of Services, endpoints and their slices, and the proxy of the API server."""
import json

from client import contains, must_contain
from harness import eventually

# Answers with the method and the path it was asked with.
ECHO = ('read method path rest; printf "HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nConnection: close\\r\\n\\r\\n"; '
        '[ "$method" = HEAD ] || echo "$method $path"')


class Network:
    def __init__(self, api):
        self.api = api
        self.ns = "network"
        self.path = f"/api/v1/namespaces/{self.ns}"
        self.slices = f"/apis/discovery.k8s.io/v1/namespaces/{self.ns}/endpointslices"

    def _of(self, service, **labels):
        selector = ",".join(f"{k}={v}" for k, v in {"kubernetes.io/service-name": service, **labels}.items())
        return self.api.get(self.slices, labelSelector=selector)["items"]

    def _pod(self, name, port, script=ECHO, **labels):
        command = f"exec nc -ll -p {port} -e sh -c '{script}'"
        self.api.create(f"{self.path}/pods", {"metadata": {"name": name, "labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": self.api.image, "command": ["sh", "-c", command], "ports": [{"name": "web", "containerPort": port}]}]}})

    def _running(self, name):
        pod = lambda: self.api.get(f"{self.path}/pods/{name}")
        ready = lambda: any(c["type"] == "Ready" and c["status"] == "True" for c in pod()["status"].get("conditions", [])) and pod()
        return eventually(f"{name} runs", ready, 20)

    # --- addresses

    def ranges_of_addresses_are_added_and_taken_away_when_free(self):
        api, root = self.api, "/apis/networking.k8s.io/v1"
        must_contain(api.get(f"{root}/servicecidrs/kubernetes"), {"spec": {"cidrs": ["10.43.0.0/16"]}, "metadata": {
            "finalizers": ["networking.k8s.io/service-cidr-finalizer"]}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        path = f"{root}/servicecidrs/extra"
        api.create(f"{root}/servicecidrs", {"metadata": {"name": "extra"}, "spec": {"cidrs": ["10.196.196.0/28"]}})
        ready = lambda: {c["type"]: c for c in api.get(path)["status"]["conditions"]}["Ready"]
        eventually("it is ready", lambda: ready()["status"] == "True", 10)
        assert api.get(path)["metadata"]["finalizers"] == ["networking.k8s.io/service-cidr-finalizer"]
        assert api.patch(path, {"spec": {"cidrs": ["10.196.197.0/28"]}}, code=422)["reason"] == "Invalid"
        service = api.create(f"{self.path}/services", {"metadata": {"name": "in-extra"},
            "spec": {"clusterIP": "10.196.196.10", "ports": [{"port": 80}]}})
        must_contain(api.get(f"{root}/ipaddresses/10.196.196.10"), {"spec": {"parentRef": {
            "resource": "services", "namespace": self.ns, "name": "in-extra"}}, "metadata": {"labels": {
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io", "ipaddress.kubernetes.io/ip-family": "IPv4"}}})
        gone = api.delete(path)
        eventually("it is ending", lambda: ready()["status"] == "False" and ready()["reason"] == "Terminating", 10)
        assert "deletionTimestamp" in api.get(path)["metadata"], gone
        refused = {"metadata": {"name": "too-late"}, "spec": {"clusterIP": "10.196.196.11", "ports": [{"port": 80}]}}
        assert "not in the valid range" in api.create(f"{self.path}/services", refused, code=422)["message"]
        assert api.get(f"{self.path}/services/in-extra")["spec"]["clusterIP"] == service["spec"]["clusterIP"]
        api.delete(f"{self.path}/services/in-extra")
        api.gone(path)
        api.gone(f"{root}/ipaddresses/10.196.196.10")

    def an_address_without_its_service_is_given_back(self):
        # What a client takes by hand for a Service that is not there is a leak, and is mended; what has another owner stays.
        api, path = self.api, "/apis/networking.k8s.io/v1/ipaddresses"
        api.create(path, {"metadata": {"name": "10.43.250.7"},
            "spec": {"parentRef": {"group": "example.com", "resource": "things", "name": "t"}}})
        assert api.create(f"{self.path}/services", {"metadata": {"name": "taken"},
            "spec": {"clusterIP": "10.43.250.7", "ports": [{"port": 1}]}}, code=422)
        assert api.create(path, {"metadata": {"name": "10.43.250.07"}, "spec": {"parentRef": {"resource": "things", "name": "t"}}},
            code=422)
        assert api.patch(f"{path}/10.43.250.7", {"spec": {"parentRef": {"name": "other"}}},
            code=422)["details"]["causes"][0]["field"] == "spec.parentRef"
        api.delete(f"{path}/10.43.250.7")

    # --- endpoints

    def the_server_has_endpoints_of_its_own(self):
        own = self.api.get("/api/v1/namespaces/default/endpoints/kubernetes")
        port = [{"name": "https", "port": 6443, "protocol": "TCP"}]
        assert own["subsets"][0]["ports"] == port and own["subsets"][0]["addresses"]
        found = self.api.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            labelSelector="kubernetes.io/service-name=kubernetes")["items"]
        assert [s["ports"] for s in found] == [port] and found[0]["endpoints"][0]["addresses"] == [own["subsets"][0]["addresses"][0]["ip"]], found

    def endpoints_written_by_hand_are_mirrored(self):
        api, path = self.api, f"{self.path}/endpoints"
        api.create(f"{self.path}/services", {"metadata": {"name": "hand"}, "spec": {"ports": [{"name": "example", "port": 80}]}})
        body = {"metadata": {"name": "hand"}, "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"port": 80}]}]}
        api.create(path, body)
        addresses = lambda: sorted(a for s in self._of("hand",
            **{"endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
                                   for e in s["endpoints"] for a in e["addresses"])
        eventually("mirrored", lambda: addresses() == ["10.1.2.3"], 10)
        body["subsets"][0]["addresses"] = [{"ip": "10.2.3.4"}]
        api.put(f"{path}/hand", body)
        eventually("changed", lambda: addresses() == ["10.2.3.4"], 10)
        api.delete(f"{path}/hand")
        eventually("gone", lambda: self._of("hand") == [], 10)

    def named_ports_and_protocols_reach_the_slices(self):
        api = self.api
        self._pod("w1", 3000, app="w", own="1")
        self._pod("w2", 3001, app="w", own="2")
        api.create(f"{self.path}/services", {"metadata": {"name": "one"},
            "spec": {"selector": {"own": "1"}, "publishNotReadyAddresses": True, "ports": [
            {"name": "example", "port": 80, "targetPort": 3001}]}})
        api.create(f"{self.path}/services", {"metadata": {"name": "both"}, "spec": {"selector": {"app": "w"}, "ports": [
            {"name": "http", "port": 80, "targetPort": "web"}]}})
        api.create(f"{self.path}/services", {"metadata": {"name": "mixed"}, "spec": {"selector": {"app": "w"}, "ports": [
            {"name": "t", "port": 80, "targetPort": 3000}, {"name": "u", "port": 80, "targetPort": 3000, "protocol": "UDP"}]}})
        ips = {n: self._running(n)["status"]["podIP"] for n in ("w1", "w2")}
        flat = lambda service: sorted((a, p["name"], p["port"], p["protocol"], e["targetRef"]["name"], e["conditions"]["ready"],
            e["nodeName"])
                                      for s in self._of(service) for e in s["endpoints"] for a in e["addresses"] for p in s["ports"])
        want = sorted((ips[n], "http", port, "TCP", n, True, "n1") for n, port in (("w1", 3000), ("w2", 3001)))
        eventually("one slice for each number", lambda: flat("both") == want and len(self._of("both")) == 2, 10)
        eventually("and one subset", lambda: len(api.get(f"{self.path}/endpoints/both").get("subsets", [])) == 2, 10)
        eventually("one pod", lambda: flat("one") == [(ips["w1"], "example", 3001, "TCP", "w1", True, "n1")], 10)
        eventually("both protocols", lambda: {x[1:4] for x in flat("mixed")} == {("t", 3000, "TCP"), ("u", 3000, "UDP")}, 10)
        mixed = api.patch(f"{self.path}/services/mixed", {"spec": {"type": "NodePort"}})["spec"]["ports"]
        assert all(p["nodePort"] for p in mixed) and [p["protocol"] for p in mixed] == ["TCP", "UDP"]
        self.ips = ips

    def slices_written_by_hand_carry_traffic(self):
        api, got = self.api, lambda ip: self.api.cluster.kubectl("exec", "-n", self.ns, "w1", "--", "sh", "-c",
            f"for i in 1 2 3 4 5 6 7 8 9; do get {ip} 80 /x; get {ip} 81 /y; done",
                                                                 check=False, timeout=20).stdout
        service = api.create(f"{self.path}/services", {"metadata": {"name": "split"},
            "spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}})
        for n, port, ports in (("w1", 3000, "a"), ("w2", 3001, "b")):
            api.create(self.slices, {"metadata": {"name": f"split-{n}", "labels": {"kubernetes.io/service-name": "split"}},
                "addressType": "IPv4", "ports": [
                {"name": ports, "port": port}], "endpoints": [{"addresses": [self.ips[n]]}]})
        ip = service["spec"]["clusterIP"]
        eventually("each port has its own slice", lambda: set(got(ip).split("\n")) == {"GET /x", "GET /y", ""}, 15)
        assert len(self._of("split")) == 2, "slices of others are left alone"
        api.delete(self.slices, labelSelector="kubernetes.io/service-name=split")
        assert self._of("split") == []

    def the_proxy_passes_every_method_and_path(self):
        api = self.api
        service, pod = f"{self.path}/services", f"{self.path}/pods"
        self._running("w1")
        listed = {r["name"]: r for r in api.get("/api/v1")["resources"]}
        for path in (f"{pod}/w1:3000/proxy", f"{pod}/http:w1:3000/proxy", f"{service}/both:http/proxy", f"{service}/both:80/proxy",
            f"{service}/http:both:http/proxy"):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                a = api.ask(method, f"{path}/some/path/with/{method}?a=b")
                text = "" if method == "HEAD" else f"{method} /some/path/with/{method}?a=b\n"
                assert a.code == 200 and a.text == text, (method, path, a.code, a.text)
        assert set(listed["pods/proxy"]["verbs"]) == {"create", "delete", "get", "patch", "update"}
        for method in ("GET", "HEAD"):
            a = api.ask(method, f"{pod}/w1:3000/proxy?method={method}")
            assert a.code == 301 and a.headers["Location"] == f"{pod}/w1:3000/proxy/?method={method}", (a.code, a.headers["Location"])
        a = api.ask("POST", f"{pod}/w1:3000/proxy?method=POST")
        assert a.code == 200 and a.text.split("?")[0] in ("POST /", "POST /\n"), (a.code, a.text)
        assert api.ask("GET", f"{service}/both:none/proxy/").code == 503
        assert api.ask("GET", f"{service}/nothing/proxy/").code == 404

    def a_collection_of_services_goes(self):
        api = self.api
        for n in "12":
            api.create(f"{self.path}/services", {"metadata": {"name": f"kept-{n}", "labels": {"keep": n}},
                "spec": {"ports": [{"port": 80}]}})
        api.delete(f"{self.path}/services", labelSelector="keep=1")
        assert api.ask("GET", f"{self.path}/services/kept-1").code == 404 and api.ask("GET", f"{self.path}/services/kept-2").code == 200
        api.delete(f"{self.path}/services")
        assert not api.get(f"{self.path}/services")["items"]
        eventually("their slices too", lambda: not api.get(self.slices)["items"], 10)


def cases(api):
    api.namespace("network")
    own = Network(api)
    for name in [n for n in vars(Network) if n[0] != "_"]:
        yield name.replace("_", " "), getattr(own, name)
