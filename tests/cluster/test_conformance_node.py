"""One node: what Kubernetes' conformance areas of sig-node and sig-storage promise about pods, as tables of small pods.

ONCE: pods that run to their end; a row is (name, what differs from a plain pod, what the log must match).
STATES: pods whose status must reach a state; a row is (name, what differs, a predicate over the pod).
The methods below: what needs a second step (an update, a deletion, a resize).
All pods of the tables are applied at once and judged one after the other.
"""
import json
import re
import subprocess

import images
from harness import Cluster, eventually

CLUSTER = None  # the scenario's


def pod(name, command=None, c=None, containers=None, volumes=None, mounts=None, security=None, **spec):
    """A pod of one container `c`, or of the containers given. Everything beside is part of the spec."""
    one = {"name": "c", "image": "IMAGE", **(c or {})}
    if command is not None:
        one["command"] = ["sh", "-c", "exec 2>&1; " + command]  # one stream: the order of two is not kept
    if mounts:
        one["volumeMounts"] = [{"name": n, "mountPath": p, **(rest[0] if rest else {})} for n, p, *rest in mounts]
    out = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": containers or [one], **spec}
    if security:
        out["securityContext"] = security
    if volumes:
        out["volumes"] = [{"name": n, **v} for n, v in volumes.items()]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"a": "b", "row": name},
         "annotations": {"note": "hi"}}, "spec": out}


def field(name, path):
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def amount(name, resource, **kw):
    return {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, **kw}}}


OBJECTS = [
    {"kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"color": "red", "shape": "round"}, "binaryData": {"bin": "AAEC"}},
    {"kind": "Secret", "metadata": {"name": "sec"}, "stringData": {"user": "ann"}},
]
CM, SEC = {"configMap": {"name": "cm"}}, {"secret": {"secretName": "sec"}}
SERVED = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m", "memory": "32Mi"}}
STAT = "stat -L -c '%a %u %g'"

ONCE = [
    ("image-defaults", dict(c={"image": "TALKER"}), r"^image default$"),
    ("image-args", dict(c={"image": "TALKER", "args": ["mine"]}), r"^image mine$"),
    ("image-command", dict(c={"image": "TALKER", "command": ["echo", "own"]}), r"^own$"),
    ("image-both", dict(c={"image": "TALKER", "command": ["echo"], "args": ["a", "b"]}), r"^a b$"),
    ("env-fields", dict(command='echo "$N $NS $IP $IPS $H $HS $NODE $SA $L $A ${#UID_}"', c={"env": [
        field("N", "metadata.name"), field("NS", "metadata.namespace"), field("IP", "status.podIP"), field("IPS", "status.podIPs"),
             field("H", "status.hostIP"),
        field("HS", "status.hostIPs"), field("NODE", "spec.nodeName"), field("SA", "spec.serviceAccountName"),
             field("L", "metadata.labels['a']"),
        field("A", "metadata.annotations['note']"), field("UID_", "metadata.uid")]}),
     r"^env-fields default (10\.42\.\S+) \1 192\.168\.77\.11 192\.168\.77\.11 n1 default b hi 36$"),
    ("env-resources", dict(command="echo $A $B $C $D $E", c={"resources": SERVED, "env": [
        amount("A", "limits.cpu", divisor="1m"), amount("B", "limits.cpu"), amount("C", "requests.memory", divisor="1Mi"),
             amount("D", "limits.memory"),
        amount("E", "requests.cpu", divisor="1m")]}), r"^500 1 32 67108864 250$"),
    ("env-allocatable", dict(command="test $A -gt 0 && test $B -gt 1000000 && echo good",
         c={"env": [amount("A", "limits.cpu"), amount("B", "limits.memory")]}), "good"),
    ("env-from", dict(command="echo $color $P_color $S_user $user", c={"envFrom": [
        {"configMapRef": {"name": "cm"}}, {"prefix": "P_", "configMapRef": {"name": "cm"}}, {"prefix": "S_", "secretRef": {"name": "sec"}},
        {"configMapRef": {"name": "absent", "optional": True}}]}), r"^red red ann$"),
    ("env-expansion", dict(c={"command": ["echo", "$(B)", "$$(A)", "$(NONE)"], "env": [{"name": "A", "value": "1"},
         {"name": "B", "value": "<$(A)>"}]}),
     r"^<1> \$\(A\) \$\(NONE\)$"),
    ("host-aliases", dict(command="cat /etc/hosts", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["foo", "bar"]}]),
         r"1\.2\.3\.4\s+foo\s+bar"),
    ("host-name", dict(command="hostname; cat /etc/hosts", hostname="given", subdomain="sub"),
         r"^given\n[\s\S]*given\.sub\.default\.svc\.cluster\.local\s+given"),
    ("dns-config", dict(command="cat /etc/resolv.conf", dnsPolicy="None", dnsConfig={"nameservers": ["9.9.9.9"], "searches": ["x.y"],
         "options": [{"name": "ndots", "value": "2"}]}),
     r"search x\.y\nnameserver 9\.9\.9\.9\noptions ndots:2"),
    ("sysctls", dict(command="cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range", security={"sysctls": [
        {"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "net.ipv4.ip_local_port_range", "value": "4000 5000"}]}),
             r"^1\n4000\s5000$"),
    ("identity", dict(command="id -u; id -g; id -G; echo x > /v/f; stat -c '%u %g' /v/f; stat -c %a /v", security={
        "runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1003, "supplementalGroups": [1004]}, volumes={"v": {"emptyDir": {}}},
             mounts=[("v", "/v")]),
     r"^1001\n1002\n1002 1003 1004\n1001 1003\n2777$"),
    ("identity-container", dict(command="id -u; id -g", security={"runAsUser": 1001, "runAsGroup": 1002},
         c={"securityContext": {"runAsUser": 1005}}), r"^1005\n1002$"),
    ("privileges", dict(command="grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; touch /x", c={"securityContext": {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"],
             "add": ["NET_BIND_SERVICE"]}}}),
     r"CapEff:\s0000000000000400\nNoNewPrivs:\s1\nSeccomp:\s2\n[\s\S]*Read-only"),
    ("privileged", dict(command="mkdir /m; mount -t tmpfs x /m && grep Seccomp: /proc/self/status",
         c={"securityContext": {"privileged": True}}), r"Seccomp:\s0"),
    ("unprivileged", dict(command="mkdir /m; mount -t tmpfs x /m || echo refused"), "refused"),
    ("empty-dir", dict(command="stat -c %a /v; echo hi > /v/f && cat /s/../v/f; echo in > /s/g && cat /v/inner/g",
                       volumes={"v": {"emptyDir": {}}},
                       mounts=[("v", "/v"), ("v", "/s", {"subPath": "inner"})]), r"^777\nhi\nin$"),
    ("empty-dir-memory", dict(command="stat -c %a /v; df -m /v | tail -1 | awk '{print $1, $2}'",
         volumes={"v": {"emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}}},
                              mounts=[("v", "/v")], security={"runAsUser": 1000}), r"^777\ntmpfs 8$"),
    ("config-map", dict(command=f"cat /v/x /v/deep/y; {STAT} /v/x /v/deep/y; od -An -tx1 /w/bin; ls /o | wc -l; touch /w/z", volumes={
        "v": {"configMap": {"name": "cm", "defaultMode": 0o400, "items": [{"key": "color", "path": "x"}, {"key": "shape", "path": "deep/y",
             "mode": 0o644}]}}, "w": CM,
        "o": {"configMap": {"name": "absent", "optional": True}}}, mounts=[("v", "/v"), ("w", "/w"), ("o", "/o")]),
     r"^redround400 0 0\n644 0 0\n 00 01 02\n0\n.*Read-only"),
    ("secret", dict(command=f"cat /v/user; {STAT} /v/user", security={"runAsUser": 1000, "fsGroup": 2000},
         volumes={"v": {"secret": {"secretName": "sec", "defaultMode": 0o440}}},
                    mounts=[("v", "/v")]), r"^ann440 0 2000$"),
    ("projected", dict(command=f"cat /v/color /v/s/user /v/labels /v/cpu; test -s /v/token && {STAT} /v/color /v/s/user",
         c={"resources": SERVED}, volumes={"v": {"projected": {
        "defaultMode": 0o444, "sources": [{"configMap": {"name": "cm"}},
             {"secret": {"name": "sec", "items": [{"key": "user", "path": "s/user", "mode": 0o400}]}},
                                          {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                                                                     {"path": "cpu", "resourceFieldRef": {"containerName": "c",
                                                                     "resource": "limits.cpu", "divisor": "1m"}}]}},
                                          {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}}}, mounts=[("v", "/v")]),
     r'^redanna="b"\nrow="projected"\n500444 0 0\n400 0 0$'),
    ("downward-volume", dict(command=f"cat /v/name /v/memory; {STAT} /v/name /v/memory", c={"resources": SERVED},
         volumes={"v": {"downwardAPI": {"defaultMode": 0o400, "items": [
        {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}, {"path": "memory", "mode": 0o644, "resourceFieldRef": {
            "containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]}}}, mounts=[("v", "/v")]),
                 r"^downward-volume64400 0 0\n644 0 0$"),
    ("sub-paths", dict(command="cat /one; ls /e; touch /e/t; ls /v/sub-paths", c={"env": [field("NAME", "metadata.name")]},
         volumes={"cm": CM, "v": {"emptyDir": {}}},
                       mounts=[("cm", "/one", {"subPath": "color"}), ("v", "/e", {"subPathExpr": "$(NAME)"}), ("v", "/v")]), r"^redt$"),
    ("image-volume", dict(command="cat /img/data/file; touch /img/x; cat /sub/file",
         volumes={"i": {"image": {"reference": "DATA", "pullPolicy": "IfNotPresent"}}},
                          mounts=[("i", "/img"), ("i", "/sub", {"subPath": "data"})]),
                               r"^from an image\n[\s\S]*Read-only[\s\S]*from an image$"),
    ("shared-pids", dict(command="ps | grep -c '[s]leep 77'", shareProcessNamespace=True, initContainers=[
        {"name": "s", "image": "IMAGE", "command": ["sleep", "77"], "restartPolicy": "Always"}]), r"^1$"),
    ("node-network", dict(command="ip addr show eth0; hostname", hostNetwork=True), r"192\.168\.77\.11"),
    ("node-pids", dict(command="ps | wc -l | awk '{print ($1 > 10)}'", hostPID=True), r"^1$"),
    ("init-order", dict(command="cat /v/log", volumes={"v": {"emptyDir": {}}}, mounts=[("v", "/v")], initContainers=[
        {"name": n, "image": "IMAGE", "command": ["sh", "-c", f"sleep 0.1; echo {n} >> /v/log"],
             "volumeMounts": [{"name": "v", "mountPath": "/v"}]} for n in ("i1", "i2")]),
     r"^i1\ni2$"),
    ("sidecar", dict(command="get 127.0.0.1 8080 /", initContainers=[{
        "name": "side", "image": "IMAGE", "restartPolicy": "Always",
             "command": ["sh", "-c", "mkdir /w; echo from-the-side > /w/index.html; exec httpd -f -p 8080 -h /w"],
        "startupProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]), r"^from-the-side$"),
    ("post-start", dict(command="until test -f /tmp/hook; do sleep 0.1; done; cat /tmp/hook",
         c={"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /tmp/hook"]}}}}),
     r"^hooked$"),
    ("read-only-mount", dict(command="touch /v/x", volumes={"v": {"emptyDir": {}}}, mounts=[("v", "/v", {"readOnly": True})],
         expect="Failed"), "Read-only"),
    ("host-path", dict(command="cat /v/f", volumes={"v": {"hostPath": {"path": "HOST/made", "type": "DirectoryOrCreate"}}},
         mounts=[("v", "/v")], initContainers=[
        {"name": "i", "image": "IMAGE", "command": ["sh", "-c", "echo kept > /w/f"], "volumeMounts": [{"name": "v", "mountPath": "/w"}]}]),
             r"^kept$"),
]


def status(p, name="c"):
    return next(s for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses") for s in p["status"].get(key,
         []) if s["name"] == name)


def terminated(p, name="c"):
    return status(p, name)["state"].get("terminated", {})


def ended(message, code):
    return lambda p: terminated(p).get("exitCode") == code and (terminated(p).get("message", "") or None) == message


def waiting(reason, text=""):
    return lambda p: status(p)["state"]["waiting"]["reason"] == reason and text in status(p)["state"]["waiting"].get("message", "")


def failed(reason, text=""):
    return lambda p: p["status"]["phase"] == "Failed" and p["status"].get("reason") == reason and text in p["status"].get("message", "")


def ready(p):
    return status(p)["ready"] and status(p)["restartCount"] == 0


def restarted(p):
    return status(p)["restartCount"] > 0


def condition(p, kind):
    return next((c["status"] for c in p["status"].get("conditions", []) if c["type"] == kind), None)


PROBE = {"periodSeconds": 1, "failureThreshold": 1}
# What a gRPC health server says after the client's preface: SETTINGS, HEADERS (:status 200), DATA with the status, trailers.
GRPC_FRAMES = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 2, 8])


def grpc(health):
    answer = "".join(f"\\{b:03o}" for b in GRPC_FRAMES + bytes([health]))
    return f"nc -ll -p 9000 -e /bin/sh -c 'head -c 24 > /dev/null; printf \"{answer}\"; sleep 1'"


SLEEP = "trap 'exit 0' TERM; sleep 3600 & wait"


def watched(probe, command=SLEEP, kind="livenessProbe"):
    return dict(command=command, c={kind: {**PROBE, **probe}}, restartPolicy="Always")


STATES = [
    ("message-file", dict(command="printf DONE > /dev/termination-log"), ended("DONE", 0)),
    ("message-path", dict(command="printf OWN > /tmp/msg", c={"terminationMessagePath": "/tmp/msg"}, security={"runAsUser": 1000}),
         ended("OWN", 0)),
    ("message-logs", dict(command="echo oops; exit 3", c={"terminationMessagePolicy": "FallbackToLogsOnError"}), ended("oops\n", 3)),
    ("message-logs-open", dict(command="printf DONE; exit 1", c={"terminationMessagePolicy": "FallbackToLogsOnError"}), ended("DONE", 1)),
    ("message-logs-good", dict(command="echo fine", c={"terminationMessagePolicy": "FallbackToLogsOnError"}), ended(None, 0)),
    ("message-logs-file", dict(command="printf said > /dev/termination-log; echo oops; exit 1",
         c={"terminationMessagePolicy": "FallbackToLogsOnError"}), ended("said", 1)),
    ("on-failure", dict(command="test -f /v/once && exit 0; touch /v/once; exit 1", restartPolicy="OnFailure",
         volumes={"v": {"emptyDir": {}}}, mounts=[("v", "/v")]),
     lambda p: p["status"]["phase"] == "Succeeded" and status(p)["restartCount"] == 1),
    ("init-fails", dict(command="true", initContainers=[{"name": "i", "image": "IMAGE", "command": ["false"]}]),
     lambda p: p["status"]["phase"] == "Failed" and "waiting" in status(p)["state"] and terminated(p, "i")["exitCode"] == 1),
    ("init-again", dict(command="true", restartPolicy="Always", initContainers=[{"name": "i", "image": "IMAGE", "command": ["false"]}]),
     lambda p: status(p, "i")["restartCount"] >= 1 and p["status"]["phase"] == "Pending" and "waiting" in status(p)["state"] and
     condition(p, "Initialized") == "False"),
    ("deadline", dict(command=SLEEP, activeDeadlineSeconds=1), failed("DeadlineExceeded")),
    ("non-root", dict(command="true", security={"runAsNonRoot": True}), waiting("CreateContainerConfigError", "root")),
    ("no-config", dict(command="true", c={"envFrom": [{"configMapRef": {"name": "absent"}}]}), waiting("CreateContainerConfigError",
         "absent")),
    ("sub-path-escape", dict(command="true", c={"env": [{"name": "UP", "value": "../.."}]}, volumes={"v": {"emptyDir": {}}},
         mounts=[("v", "/v", {"subPathExpr": "$(UP)"})]),
     waiting("CreateContainerConfigError", "..")),
    ("bad-sysctl", dict(command="true", security={"sysctls": [{"name": "vm.swappiness", "value": "1"}]}), failed("SysctlForbidden")),
    ("out-of-cpu", dict(command="true", nodeName="n1", c={"resources": {"requests": {"cpu": "1000"}}}), failed("OutOfcpu")),
    ("wrong-node", dict(command="true", nodeName="n1", nodeSelector={"no": "such"}), failed("NodeAffinity")),
    ("guaranteed", dict(command="true", c={"resources": {"limits": {"cpu": "100m", "memory": "32Mi"}}}),
         lambda p: p["status"]["qosClass"] == "Guaranteed"),
    ("burstable", dict(command="true", c={"resources": SERVED}), lambda p: p["status"]["qosClass"] == "Burstable"),
    ("best-effort", dict(command="true"), lambda p: p["status"]["qosClass"] == "BestEffort"),
    ("live-exec", watched({"exec": {"command": ["cat", "/tmp/h"]}}, "touch /tmp/h; sleep 2; rm /tmp/h; sleep 3600"), restarted),
    ("live-exec-good", watched({"exec": {"command": ["true"]}}), ready),
    ("live-http", watched({"httpGet": {"path": "/none", "port": 8080}, "initialDelaySeconds": 1}, "exec httpd -f -p 8080"), restarted),
    ("live-tcp", watched({"tcpSocket": {"port": 8080}}), restarted),
    ("live-tcp-good", watched({"tcpSocket": {"port": 8080}, "initialDelaySeconds": 1}, "exec httpd -f -p 8080"), ready),
    ("live-grpc", watched({"grpc": {"port": 9000}, "initialDelaySeconds": 1}, grpc(2)), restarted),
    ("ready-grpc", watched({"grpc": {"port": 9000}}, grpc(1), "readinessProbe"), ready),
    ("ready-https", dict(c={"image": "TLS", "readinessProbe": {**PROBE, "httpGet": {"scheme": "HTTPS", "path": "/", "port": 8443}}},
         restartPolicy="Always"), ready),
    ("ready-never", watched({"exec": {"command": ["false"]}}, kind="readinessProbe"),
         lambda p: "running" in status(p)["state"] and not ready(p) and condition(p, "Ready") == "False"),
    ("startup", dict(command="sleep 1.5; touch /tmp/up; sleep 3600", restartPolicy="Always", c={
        "startupProbe": {"exec": {"command": ["cat", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 10},
             "livenessProbe": {**PROBE, "exec": {"command": ["cat", "/tmp/up"]}}}), ready),
    ("probe-timeout", watched({"exec": {"command": ["sleep", "10"]}, "timeoutSeconds": 1}), restarted),
    ("gate", dict(command=SLEEP, readinessGates=[{"conditionType": "x/y"}]),
         lambda p: condition(p, "ContainersReady") == "True" and condition(p, "Ready") == "False"),
    ("empty-dir-full", dict(command="dd if=/dev/zero of=/v/f bs=1M count=3; sleep 3600", volumes={"v": {"emptyDir": {"sizeLimit": "1Mi"}}},
         mounts=[("v", "/v")]),
     failed("Evicted", "EmptyDir")),
    ("storage-full", dict(command="dd if=/dev/zero of=/f bs=1M count=3; sleep 3600",
         c={"resources": {"limits": {"ephemeral-storage": "1Mi"}}}), failed("Evicted", "ephemeral")),
    ("crash", dict(command="exit 2", restartPolicy="Always"),
         lambda p: waiting("CrashLoopBackOff")(p) and status(p)["lastState"]["terminated"]["exitCode"] == 2),
]

STEADY = [
    pod("watcher", SLEEP, volumes={"p": {"projected": {"sources": [{"configMap": {"name": "moving"}}, {"secret": {"name": "hidden"}},
         {"downwardAPI": {"items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}}, "o": {"configMap": {"name": "later", "optional": True}}},
             mounts=[("p", "/p"), ("o", "/o")]),
    pod("hooked", "exec httpd -f -vv -p 8080 -h /"),
    pod("resized", SLEEP, restartPolicy="Always", c={"resources": {"requests": {"cpu": "100m", "memory": "32Mi"},
         "limits": {"cpu": "200m", "memory": "64Mi"}}, "resizePolicy": [
        {"resourceName": "memory", "restartPolicy": "RestartContainer"}, {"resourceName": "cpu", "restartPolicy": "NotRequired"}]}),
    pod("debugged", "sleep 3588"),
]


def fill(text):
    for word, value in CLUSTER["names"].items():
        text = text.replace(f'"{word}"', f'"{value}"').replace(f"{word}/", f"{value}/")
    return text


class Node:
    def __init__(self, c):
        self.c = c

    def pod(self, name):
        return self.c.get("pod", name)

    def sh(self, name, command, container="c"):
        return self.c.kubectl("exec", name, "-c", container, "--", "sh", "-c", command).stdout

    # --- in order

    def the_pods_of_the_tables_are_taken(self):
        c = self.c
        c.start_registry()
        path = c.dir / "images"
        data = images.Layer().dir("data").file("data/file", "from an image\n").bytes()
        tls = images.Layer().dir("srv")
        images.add_program(tls, "/usr/bin/openssl")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
             str(c.dir / "k"), "-out", str(c.dir / "x"),
                        "-days", "9", "-subj", "/CN=x"], check=True, capture_output=True)
        tls.file("srv/key", (c.dir / "k").read_bytes()).file("srv/crt", (c.dir / "x").read_bytes())
        base = images.busybox_layer()
        CLUSTER["names"] = {
            "IMAGE": c.push(images.layout(path / "b", [base], cmd=["sh"]), "busybox:1"),
            "TALKER": c.push(images.layout(path / "t", [base], entrypoint=["echo", "image"], cmd=["default"]), "talker:1"),
            "DATA": c.push(images.layout(path / "d", [data]), "data:1"),
            "TLS": c.push(images.layout(path / "s", [base, tls.bytes()], cmd=["openssl", "s_server", "-www", "-quiet", "-accept", "8443",
                 "-key", "/srv/key", "-cert", "/srv/crt"]), "tls:1"),
            "HOST": str(c.dir / "host"),
        }
        items = [{"apiVersion": "v1", **o} for o in OBJECTS]
        items += [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moving"}, "data": {"color": "red", "old": "1"}},
                  {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"word": "one"}}]
        items += [pod(name, **{k: v for k, v in args.items() if k != "expect"}) for name, args, _ in ONCE + STATES] + STEADY
        c.apply(fill(json.dumps({"apiVersion": "v1", "kind": "List", "items": items})))

    def once(self, name, args, pattern):
        phase = lambda: self.pod(name)["status"]["phase"]
        end = eventually(f"{name} ends", lambda: phase() in ("Succeeded", "Failed") and phase(), 20)
        log = self.c.kubectl("logs", name).stdout
        assert re.search(pattern, log.rstrip("\n")), f"{name}: {log!r} does not match {pattern!r}"
        want = args.get("expect", None)
        assert want is None or end == want, end

    def state(self, name, predicate):
        def check():
            return predicate(self.pod(name))
        try:
            eventually(name, check, 25, 0.1)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{json.dumps(self.pod(name)['status'], indent=1)}")

    def volumes_follow_their_objects_at_once(self):
        c = self.c
        c.wait_running("row=watcher", 1)
        assert self.sh("watcher", "cat /p/color /p/word; ls /o") == "redone"
        c.apply('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moving"}, "data": {"color": "blue", "new": "2"}}')
        c.apply('{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden"}, "stringData": {"word": "two"}}')
        c.kubectl("label", "pod", "watcher", "a=c", "--overwrite")
        c.kubectl("create", "configmap", "later", "--from-literal=k=v")
        eventually("the new keys", lambda: self.sh("watcher",
             "cat /p/color /p/new /p/word; grep a= /p/labels; cat /o/k; ls /p") == 'blue2twoa="c"\nvcolor\nlabels\nnew\nword\n', 15)

    def hooks_before_the_end_run_within_the_grace_period(self):
        c = self.c
        ip = c.wait_running("row=hooked", 1)[0]["status"]["podIP"]
        hook = pod("http-hook", SLEEP, c={"lifecycle": {"postStart": {"httpGet": {"host": ip, "port": 8080, "path": "/post-start"}},
             "preStop": {"httpGet": {"host": ip, "port": 8080, "path": "/pre-stop"}}}})
        other = pod("exec-hook", SLEEP, c={"lifecycle": {"preStop": {"exec": {"command": ["get", ip, "8080", "/pre-exec"]}}}})
        nap = pod("slow-hook", SLEEP, c={"lifecycle": {"preStop": {"exec": {"command": ["sleep", "60"]}}}})
        c.apply(fill(json.dumps({"apiVersion": "v1", "kind": "List", "items": [other, hook, nap]})))
        heard = lambda: c.kubectl("logs", "hooked").stdout
        # A hook that is refused (there is no such file) ends its container, as Kubernetes has it.
        eventually("postStart over HTTP", lambda: "/post-start" in heard())
        c.wait_running("row=exec-hook", 1)
        c.wait_running("row=slow-hook", 1)
        c.kubectl("delete", "pod", "exec-hook", "http-hook", "slow-hook", timeout=20)
        eventually("preStop", lambda: "/pre-exec" in heard(), 5)

    def a_policy_holds_from_a_pods_first_moment(self):
        c = self.c
        ip = c.wait_running("row=hooked", 1)[0]["status"]["podIP"]
        c.apply(json.dumps({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "fence"}, "spec": {
            "podSelector": {"matchExpressions": [{"key": "row", "operator": "In", "values": ["fenced-0", "fenced-1", "fenced-2"]}]},
            "policyTypes": ["Egress"]}}))
        # Nothing between the start of the pod and its attempt to connect.
        tries = [pod(f"fenced-{i}", f"timeout 2 nc {ip} 8080 < /dev/null > /dev/null && echo reached || echo refused") for i in range(3)]
        c.apply(fill(json.dumps({"apiVersion": "v1", "kind": "List", "items": tries + [pod("free", f"nc {ip} 8080 < /dev/null > /dev/null && echo reached")]})))
        for name, said in [("free", "reached")] + [(f"fenced-{i}", "refused") for i in range(3)]:
            eventually(f"{name} ends", lambda: self.pod(name)["status"]["phase"] in ("Succeeded", "Failed"), 20)
            log = c.kubectl("logs", name).stdout
            assert log.splitlines()[-1:] == [said], f"{name}: {log!r}"

    def resources_change_in_place(self):
        c = self.c
        before = c.wait_running("row=resized", 1)[0]
        assert status(before)["resources"]["limits"]["cpu"] == "200m" and status(before)["allocatedResources"]["cpu"] == "100m"
        quota = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true"
        memory = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; true"
        assert self.sh("resized", quota).split()[0] == "20000"

        def resize(**resources):
            c.kubectl("patch", "pod", "resized", "--subresource", "resize", "-p",
                 json.dumps({"spec": {"containers": [{"name": "c", "resources": resources}]}}))

        resize(requests={"cpu": "300m"}, limits={"cpu": "400m"})
        now = lambda: status(self.pod("resized"))
        eventually("the status shows it",
                   lambda: now()["resources"]["limits"]["cpu"] == "400m" and now()["allocatedResources"]["cpu"] == "300m", 10)
        assert self.sh("resized", quota).split()[0] == "40000" and now()["restartCount"] == 0
        pod_now = self.pod("resized")
        assert pod_now["metadata"]["generation"] == 2, pod_now["metadata"]
        eventually("the generation is observed", lambda: self.pod("resized")["status"]["observedGeneration"] == 2, 5)
        assert {x["observedGeneration"] for x in self.pod("resized")["status"]["conditions"] if x["type"] == "Ready"} <= {1, 2}
        resize(limits={"memory": "96Mi"})
        eventually("a restart, as the policy says",
             lambda: now()["restartCount"] == 1 and now()["resources"]["limits"]["memory"] == "96Mi" and now()["ready"], 15)
        assert self.sh("resized", memory).split()[0] == str(96 << 20)
        resize(requests={"cpu": "1000"}, limits={"cpu": "1000"})
        refused = lambda x: x["type"] == "PodResizePending" and x["reason"] == "Infeasible"
        eventually("what never fits is said", lambda: any(refused(x) for x in self.pod("resized")["status"]["conditions"]), 10)
        assert self.sh("resized", quota).split()[0] == "40000"

    def ephemeral_containers_join_their_target(self):
        c = self.c
        c.wait_running("row=debugged", 1)
        c.kubectl("debug", "debugged", f"--image={CLUSTER['names']['IMAGE']}", "--target=c", "--container=eph", "--", "sh", "-c",
             "ps; sleep 3600")
        eventually("it runs", lambda: "running" in status(self.pod("debugged"), "eph")["state"], 10)
        assert "sleep 3588" in eventually("its output", lambda: c.kubectl("logs", "debugged", "-c", "eph").stdout, 5)
        assert "sleep 3588" in self.sh("debugged", "ps", "eph")

    def a_spec_that_changes_is_observed(self):
        c = self.c
        assert self.pod("watcher")["metadata"]["generation"] == 1
        c.kubectl("patch", "pod", "watcher", "-p", '{"spec": {"activeDeadlineSeconds": 1000}}')
        def observed():
            p = self.pod("watcher")
            conditions = {x.get("observedGeneration") for x in p["status"]["conditions"] if x["type"] != "PodScheduled"}
            return p["metadata"]["generation"] == 2 == p["status"]["observedGeneration"] and conditions == {2}
        eventually("observed", observed, 5)

    def a_collection_is_deleted_within_its_grace(self):
        # (kubectl itself would wait for one after the other.)
        self.c.kubectl("delete", "pods", "--all", "--wait=false", timeout=30)
        eventually("all pods are gone", lambda: not self.c.get("pods")["items"], 10)


def scenario():
    global CLUSTER
    with Cluster(nodes=1) as c:
        c.start()
        CLUSTER = {"names": {}}
        n = Node(c)
        steps = [s for s in vars(Node) if s[0] != "_" and s not in ("pod", "sh", "once", "state")]
        yield steps[0].replace("_", " "), getattr(n, steps[0])
        for name, args, pattern in ONCE:
            yield name, lambda name=name, args=args, pattern=pattern: n.once(name, args, pattern)
        for name, args, predicate in STATES:
            yield name, lambda name=name, predicate=predicate: n.state(name, predicate)
        for s in steps[1:]:
            yield s.replace("_", " "), getattr(n, s)
        yield "the control plane lacked no rights", c.the_control_plane_lacked_no_rights
