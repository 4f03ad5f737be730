"""Two nodes: pods, services, DNS, ingress, and what kubectl of both ages shows of them."""
import concurrent.futures
import json
import os
import subprocess
import threading
import time

import images
from harness import KUBECTL, Cluster, Failure, eventually, run

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 3
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
        - name: web
          image: IMAGE
          command: [sh, -c, 'mkdir -p /tmp/www && echo "$VERSION $(hostname)" > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www']
          env: [{name: VERSION, value: v1}]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
          lifecycle: {preStop: {exec: {command: [sleep, "1"]}}}
          resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: web-headless}
spec:
  clusterIP: None
  selector: {app: web}
  ports: [{name: http, port: 8080}]
"""

INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  tls: [{hosts: [secure.example.com], secretName: web-tls}]
  rules:
    - host: web.example.com
      http:
        paths:
          - {path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}
          - {path: /exact, pathType: Exact, backend: {service: {name: nothing, port: {number: 80}}}}
    - host: secure.example.com
      http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"""

CLIENT = """
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}, annotations: {note: "hello"}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  initContainers:
    - {name: first, image: IMAGE, command: [sh, -c, "echo from-init > /shared/init"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
    - name: main
      image: IMAGE
      command: [sh, -c, "echo started; echo to-stderr >&2; exec sleep 3600"]
      env:
        - {name: GREETING, value: "hi $(WHO)"}
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: CM, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
      envFrom: [{secretRef: {name: login}, prefix: S_}]
      volumeMounts:
        - {name: shared, mountPath: /shared}
        - {name: settings, mountPath: /settings}
        - {name: login, mountPath: /login, readOnly: true}
        - {name: info, mountPath: /info}
        - {name: shared, mountPath: /sub, subPath: inner}
    - name: second
      image: IMAGE
      command: [sleep, "3600"]
      securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes:
    - {name: shared, emptyDir: {}}
    - {name: settings, configMap: {name: settings}}
    - {name: login, secret: {secretName: login, defaultMode: 0400}}
    - name: info
      downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
"""


class Workloads:
    def __init__(self, c):
        self.c = c
        self.image = None

    def shell(self, command, pod="client", container="main", **kw):
        return self.c.kubectl("exec", pod, "-c", container, "--", "sh", "-c", command, **kw).stdout

    # --- in order

    def images_are_pulled_and_a_deployment_runs_on_both_nodes(self):
        c = self.c
        c.start_registry()
        self.image = c.push(images.busybox(c.dir / "busybox"), "busybox:1")
        c.apply(WEB.replace("IMAGE", self.image))
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        pods = c.wait_running("app=web", 2)
        assert {p["spec"]["nodeName"] for p in pods} == {n.name for n in c.nodes}, pods
        assert all(p["status"]["podIP"].startswith("10.42.") for p in pods)

    def who_attaches_leaves_with_the_end_of_his_input(self):
        run = ["run", "listener", f"--image={self.image}", "--restart=Never", "--attach", "--stdin", "--pod-running-timeout=30s"]
        # The container's input stays open: it goes on, only the client leaves.
        self.c.kubectl(*run, "--leave-stdin-open", "--", "sh", "-c", "cat && echo closed", stdin="first\n", timeout=30)
        eventually("what was sent has arrived", lambda: self.c.kubectl("logs", "listener").stdout == "first\n", 10)
        assert self.c.get("pod", "listener")["status"]["phase"] == "Running"
        self.c.kubectl("attach", "listener", "--stdin", stdin="second\n", timeout=30)
        eventually("so has the next", lambda: self.c.kubectl("logs", "listener").stdout == "first\nsecond\n", 10)
        self.c.kubectl("delete", "pod", "listener", "--now")
        # Open once: the container sees the end, and the client waits for what it says to that.
        out = self.c.kubectl(*run, "--", "sh", "-c", "cat && echo closed", stdin="first\n", timeout=30).stdout
        assert out.endswith("first\nclosed\n"), out
        self.c.kubectl("delete", "pod", "listener", "--now")

    def a_pod_sees_its_environment_volumes_and_identity(self):
        c = self.c
        c.kubectl("create", "configmap", "settings", "--from-literal=color=red")
        c.kubectl("create", "secret", "generic", "login", "--from-literal=user=ann")
        c.apply(CLIENT.replace("IMAGE", self.image).replace("NODE", c.nodes[-1].name))
        c.wait_running("app=client", 1)
        assert self.shell("echo $NAME $CM $S_user").split() == ["client", "red", "ann"]
        assert self.shell("echo $GREETING").strip() == "hi $(WHO)"
        assert self.shell("cat /shared/init").strip() == "from-init"
        assert self.shell("cat /settings/color /login/user") == "redann"
        assert 'app="client"' in self.shell("cat /info/labels")
        assert self.shell("hostname").strip() == "client"
        assert self.shell("ls /var/run/secrets/kubernetes.io/serviceaccount").split() == ["ca.crt", "namespace", "token"]
        assert self.shell("id -u", container="second").strip() == "1000"
        assert "Read-only" in c.kubectl("exec", "client", "-c", "second", "--", "touch", "/x", check=False).stderr
        status = self.shell("grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status", container="second").split()
        assert status[status.index("CapEff:") + 1] == "0" * 16, status
        assert status[status.index("Seccomp:") + 1] == "2", status
        assert status[status.index("NoNewPrivs:") + 1] == "1", status

    def a_changed_config_map_reaches_the_volume(self):
        self.c.kubectl("patch", "configmap", "settings", "-p", '{"data":{"color":"blue"}}')
        eventually("the volume is updated", lambda: self.shell("cat /settings/color") == "blue", 90, every=1)

    def names_resolve(self):
        c = self.c
        address = c.get("service", "web")["spec"]["clusterIP"]
        assert address in self.shell("nslookup web.default.svc.cluster.local")
        for name in ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"]:  # by the search path
            assert self.shell(f"timeout 5 get {name} 80").startswith("v1"), name
        pods = {p["status"]["podIP"] for p in c.wait_running("app=web", 2)}
        answer = self.shell("nslookup web-headless.default.svc.cluster.local")
        assert all(ip in answer for ip in pods), answer
        assert "NXDOMAIN" in self.shell("nslookup nothing.default.svc.cluster.local 2>&1 || true")

    def services_reach_pods_of_both_nodes(self):
        c = self.c
        hosts = {p["metadata"]["name"] for p in c.wait_running("app=web", 2)}
        for ip in [p["status"]["podIP"] for p in c.wait_running("app=web", 2)]:
            assert self.shell(f"timeout 5 get {ip} 8080").startswith("v1")
        seen = {self.shell("timeout 5 get web 80").split()[1] for _ in range(20)}
        assert seen == hosts, (seen, hosts)
        for n in c.nodes:
            assert c.outside("curl", "-fsS", "-m", "5", f"http://{n.ip}:30080/").stdout.startswith("v1")
            assert n.sh("curl", "-fsS", "-m", "5", f"http://{c.get('service', 'web')['spec']['clusterIP']}/").stdout.startswith("v1")

    def a_load_balancer_service_has_the_nodes_addresses(self):
        c = self.c
        c.kubectl("expose", "deployment", "web", "--name=web-lb", "--type=LoadBalancer", "--port=8081", "--target-port=8080")
        ips = eventually("addresses are given", lambda: [i["ip"] for i in c.get("service", "web-lb")["status"].get("loadBalancer", {}).get("ingress", [])])
        for ip in ips:
            assert c.outside("curl", "-fsS", "-m", "5", f"http://{ip}:8081/").stdout.startswith("v1")

    def the_api_is_reachable_from_a_pod_with_its_token(self):
        token, ca = self.shell("cat /var/run/secrets/kubernetes.io/serviceaccount/token"), self.c.dir / "pod-ca.crt"
        ca.write_text(self.shell("cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt"))
        address = self.shell("echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT").strip()
        # The node's network reaches service addresses as pods do; the pod itself has no TLS client.
        answer = self.c.nodes[-1].sh("curl", "-s", "-m", "5", "--cacert", str(ca), "-H", f"Authorization: Bearer {token}", f"https://{address}/api/v1/namespaces/default/pods").stdout
        assert "system:serviceaccount:default:default" in answer and '"Forbidden"' in answer.replace(" ", ""), answer

    def ingress_routes_by_host_and_path_with_tls(self):
        c = self.c
        key, crt = c.dir / "tls.key", c.dir / "tls.crt"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key), "-out", str(crt), "-days", "30",
            "-subj", "/CN=secure.example.com", "-addext", "subjectAltName=DNS:secure.example.com")
        c.kubectl("create", "secret", "tls", "web-tls", f"--key={key}", f"--cert={crt}")
        c.apply(INGRESS)
        for n in c.nodes:
            eventually("the route is there", lambda: c.outside("curl", "-fsS", "-m", "5", "-H", "Host: web.example.com", f"http://{n.ip}/").stdout.startswith("v1"))
            code = lambda path, host="web.example.com": c.outside("curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {host}", f"http://{n.ip}{path}").stdout
            assert code("/exact") == "503" and code("/", "other.example.com") == "404"
            secure = lambda: c.outside("curl", "-fsS", "-m", "5", "--cacert", str(crt), "--resolve", f"secure.example.com:443:{n.ip}", "https://secure.example.com/").stdout
            eventually("TLS with the certificate of the Secret", lambda: secure().startswith("v1"))
        ips = eventually("the ingress has an address", lambda: c.get("ingress", "web")["status"].get("loadBalancer", {}).get("ingress"))
        assert {i["ip"] for i in ips} <= {n.ip for n in c.nodes}

    def a_rolling_update_drops_no_request_and_can_be_undone(self):
        c = self.c
        node = c.nodes[0].ip
        stop, results = threading.Event(), []

        def load():
            while not stop.is_set():
                r = c.outside("curl", "-s", "-m", "5", "-H", "Host: web.example.com", "-w", " %{http_code}", f"http://{node}/", check=False)
                results.append(r.stdout)
                time.sleep(0.02)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            loads = [pool.submit(load) for _ in range(2)]
            try:
                c.kubectl("set", "env", "deployment/web", "VERSION=v2")
                c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
                eventually("the new version answers", lambda: results[-1].startswith("v2"))
                time.sleep(3)  # until the old pods are gone
            finally:
                stop.set()
            for f in loads:
                f.result()
        bad = [r for r in results if not r.endswith(" 200")]
        assert not bad and len(results) > 20, (len(results), bad[:5])
        history = c.kubectl("rollout", "history", "deployment/web").stdout.split()
        assert "1" in history and "2" in history, history
        c.kubectl("rollout", "undo", "deployment/web")
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        eventually("the old version answers", lambda: c.outside("curl", "-s", "-H", "Host: web.example.com", f"http://{node}/").stdout.startswith("v1"))
        c.kubectl("scale", "deployment/web", "--replicas=3")
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        c.kubectl("scale", "deployment/web", "--replicas=2")
        c.wait_running("app=web", 2)

    def logs_exec_cp_and_port_forward_work_with_both_kubectls(self):
        c = self.c
        for old in (False, True):
            logs = c.kubectl("logs", "client", "-c", "main", old=old).stdout
            assert "started" in logs and "to-stderr" in logs, logs
            assert c.kubectl("logs", "client", "-c", "main", "--tail=1", old=old).stdout.count("\n") == 1
            assert c.kubectl("exec", "client", "-c", "main", "--", "echo", "over", "the", "stream", old=old).stdout == "over the stream\n"
            r = c.kubectl("exec", "client", "-c", "main", "--", "sh", "-c", "echo out; echo err >&2; exit 7", old=old, check=False)
            assert (r.stdout, r.returncode) == ("out\n", 7) and "err" in r.stderr, r
            fed = c.kubectl("exec", "-i", "client", "-c", "main", "--", "wc", "-c", stdin="x" * 300000, old=old).stdout
            assert fed.strip() == "300000", fed
            tty = run("script", "-qec", " ".join(c.kubectl_command("exec", "-it", "client", "-c", "main", "--", "tty", old=old)), "/dev/null").stdout
            assert "/dev/pts/" in tty, tty
            source = c.dir / f"file-{old}"
            source.write_bytes(bytes(range(256)) * 2000)
            c.kubectl("cp", str(source), f"client:/tmp/copied-{old}", "-c", "main", old=old)
            c.kubectl("cp", f"client:/tmp/copied-{old}", str(source) + ".back", "-c", "main", old=old)
            assert (c.dir / f"file-{old}.back").read_bytes() == source.read_bytes()
            pod = c.wait_running("app=web", 2)[0]["metadata"]["name"]
            forward = subprocess.Popen(c.kubectl_command("port-forward", f"pod/{pod}", "18080:8080", old=old), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                assert "Forwarding" in forward.stdout.readline()
                for _ in range(3):
                    assert c.outside("curl", "-fsS", "-m", "5", "http://127.0.0.1:18080/").stdout.startswith("v1")
            finally:
                forward.kill()
                forward.wait()
        follow = subprocess.Popen(c.kubectl_command("logs", "-f", "--since=1h", "client", "-c", "main"), stdout=subprocess.PIPE, text=True)
        try:
            assert follow.stdout.readline() in ("started\n", "to-stderr\n")
        finally:
            follow.kill()
            follow.wait()

    def kubectl_verbs_of_both_ages_do_what_is_expected(self):
        c = self.c
        for old in (False, True):
            k = lambda *a, **kw: c.kubectl(*a, old=old, **kw).stdout
            assert "web" in k("get", "deploy,rs,po,svc,ep", "-o", "wide")
            assert "client" in k("get", "pods", "-A") and "Running" in k("get", "pods")
            assert k("get", "pod", "client", "-o", "jsonpath={.spec.nodeName}") == c.nodes[-1].name
            assert "kind: Pod" in k("get", "pod", "client", "-o", "yaml")
            two = lambda: k("get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name").count("pod/") == 2
            eventually("the selectors leave two pods", two)
            for kind, name in [("pod", "client"), ("deployment", "web"), ("service", "web"), ("node", "n1"), ("ingress", "web"), ("configmap", "settings")]:
                text = k("describe", kind, name)
                assert "Name:" in text, text
            assert "Scheduled" in k("describe", "pod", "-l", "app=web") and "Pulled" in k("describe", "pod", "client")
            assert "deployments" in k("api-resources") and "apps/v1" in k("api-versions")
            assert "Server Version" in k("version") and "is running at" in k("cluster-info")
            assert "containers" in k("explain", "pod.spec") and "replicas" in k("explain", "deployment.spec")
            assert k("auth", "can-i", "create", "pods").strip() == "yes"
            assert k("auth", "can-i", "create", "pods", "--as=system:serviceaccount:default:default", check=False).strip() == "no"
            k("run", "quick", f"--image={self.image}", "--restart=Never", "--", "sh", "-c", "echo quick-done")
            eventually("the pod has completed", lambda: k("get", "pod", "quick", "-o", "jsonpath={.status.phase}") == "Succeeded")
            assert k("logs", "quick") == "quick-done\n"
            k("label", "pod", "quick", "a=b")
            k("annotate", "pod", "quick", "c=d")
            assert k("get", "pods", "-l", "a=b", "-o", "name").strip() == "pod/quick"
            k("patch", "pod", "quick", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/a"}]')
            k("patch", "pod", "quick", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}')
            assert k("get", "pod", "quick", "-o", "jsonpath={.metadata.labels.x}") == "y"
            k("delete", "pod", "quick")
            assert "NotFound" in c.kubectl("get", "pod", "quick", old=old, check=False).stderr
            manifest = WEB.replace("IMAGE", self.image)
            assert "unchanged" in c.apply(manifest, old=old).stdout or "configured" in c.apply(manifest, old=old).stdout
            c.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '1'}\n", "--server-side", "--field-manager=one", old=old)
            r = c.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '2'}\n", "--server-side", "--field-manager=two", old=old, check=False)
            assert r.returncode != 0 and "conflict" in r.stderr, r.stderr
            c.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '2'}\n", "--server-side", "--field-manager=two", "--force-conflicts", old=old)
            diff = c.kubectl("diff", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {a: '3'}\n", old=old, check=False)
            assert diff.returncode == 1 and "+  a: \"3\"" in diff.stdout, diff.stdout + diff.stderr
            k("replace", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa}\ndata: {b: '4'}\n")
            assert k("get", "cm", "ssa", "-o", "jsonpath={.data}") in ('{"b":"4"}', "map[b:4]")
            k("delete", "cm", "ssa")
            k("taint", "node", "n1", "test=x:PreferNoSchedule")
            k("taint", "node", "n1", "test-")
            k("cordon", "n1")
            assert "SchedulingDisabled" in k("get", "node", "n1")
            k("uncordon", "n1")
            k("set", "image", "deployment/web", f"web={self.image}")
            k("wait", "--for=condition=Available", "deployment/web", "--timeout=30s")
        assert "Scheduled" in c.kubectl("events").stdout
        r = run(*c.kubectl_command("edit", "configmap", "settings"), env=dict(os.environ, HOME=str(c.dir), KUBE_EDITOR="sed -i 's/color: blue/color: green/'"))
        assert "edited" in r.stdout, r

    def drain_moves_pods_and_restart_replaces_them(self):
        c = self.c
        before = {p["metadata"]["name"] for p in c.wait_running("app=web", 2)}
        c.kubectl("rollout", "restart", "deployment/web")
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        assert before.isdisjoint({p["metadata"]["name"] for p in c.wait_running("app=web", 2)})
        c.kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"remove","path":"/spec/template/spec/topologySpreadConstraints"}]')
        c.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        c.kubectl("drain", c.nodes[-1].name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
        pods = c.wait_running("app=web", 2)
        assert {p["spec"]["nodeName"] for p in pods} == {c.nodes[0].name}
        c.kubectl("uncordon", c.nodes[-1].name)

    def what_goes_wrong_is_said(self):
        c = self.c
        pod = lambda name, extra: f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n    - {{name: c, {extra}}}\n"
        c.apply(pod("no-image", f"image: '{c.registry_address}/missing:1'"))
        c.apply(pod("crash", f"image: '{self.image}', command: [sh, -c, 'echo bye; exit 3']"))
        c.apply(pod("hungry", f"image: '{self.image}', command: [sh, -c, 'yes | tr \\\\n x | head -c 200m | sort'], resources: {{limits: {{memory: 32Mi}}}}"))
        c.apply(pod("huge", f"image: '{self.image}', resources: {{requests: {{cpu: '1000'}}}}"))
        c.apply(pod("no-command", f"image: '{self.image}', command: [/does/not/exist]"))
        state = lambda name: c.get("pod", name)["status"].get("containerStatuses", [{}])[0]
        eventually("ImagePullBackOff", lambda: state("no-image")["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff"))
        eventually("CrashLoopBackOff", lambda: state("crash")["state"]["waiting"]["reason"] == "CrashLoopBackOff")
        assert state("crash")["lastState"]["terminated"]["exitCode"] == 3
        assert c.kubectl("logs", "crash", "--previous").stdout == "bye\n"
        eventually("OOMKilled", lambda: "OOMKilled" in json.dumps(state("hungry")))
        eventually("Unschedulable", lambda: "Insufficient cpu" in json.dumps(c.get("pod", "huge")["status"]["conditions"]))
        eventually("a start error", lambda: "no such file" in json.dumps(state("no-command")).lower())
        assert "CrashLoopBackOff" in c.kubectl("get", "pod", "crash").stdout
        events = c.kubectl("get", "events").stdout
        for word in ["Failed", "BackOff", "FailedScheduling"]:
            assert word in events, events
        c.kubectl("delete", "pod", "no-image", "crash", "hungry", "huge", "no-command", "--wait=true")

    def bad_requests_get_clear_answers(self):
        c = self.c
        r = c.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatta: {}\n", check=False)
        assert r.returncode != 0 and 'unknown field "datta"' in r.stderr, r.stderr
        r = c.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: [{name: c, image: x}]}\n", check=False)
        assert "Invalid value" in r.stderr and "RFC 1123" in r.stderr, r.stderr
        r = c.apply("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: many}\n", check=False)
        assert r.returncode != 0 and "replicas" in r.stderr, r.stderr
        curl = lambda *a: c.outside("curl", "-sk", "-m", "10", *a).stdout
        base = f"https://{c.server.ip}:6443"
        assert '"code":401' in curl(f"{base}/api").replace(" ", "") or '"code":403' in curl(f"{base}/api").replace(" ", "")
        assert '"code":401' in curl("-H", "Authorization: Bearer nonsense", f"{base}/api/v1/pods").replace(" ", "")
        assert curl(f"{base}/healthz") == "ok"

    def a_deleted_namespace_takes_its_content_along(self):
        c = self.c
        c.kubectl("create", "namespace", "gone")
        c.apply(f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: gone}}\nspec: {{selector: {{matchLabels: {{app: d}}}}, template: {{metadata: {{labels: {{app: d}}}}, "
                f"spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: '{self.image}', command: [sleep, '1000']}}]}}}}}}\n")
        c.wait_running("app=d", 1, namespace="gone")
        c.kubectl("delete", "namespace", "gone", "--timeout=60s")
        assert "NotFound" in c.kubectl("get", "namespace", "gone", check=False).stderr

    def deleting_a_deployment_deletes_its_pods(self):
        c = self.c
        c.kubectl("delete", "deployment", "web")
        eventually("the pods are gone", lambda: not c.get("pods", "-l", "app=web")["items"])
        assert not c.get("rs")["items"]


def scenario():
    with Cluster(nodes=2) as c:
        c.start()
        w = Workloads(c)
        for name in [n for n in vars(Workloads) if n[0] != "_" and n != "shell"]:
            yield name.replace("_", " "), getattr(w, name)
        yield "the control plane lacked no rights", c.the_control_plane_lacked_no_rights
