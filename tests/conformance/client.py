"""A small HTTP client of the API, as raw as a test wants it: a method, a path, a body, and what came back."""
import base64
import contextlib
import ctypes
import http.client
import json
import socket
import ssl
import time
import urllib.parse

from harness import Failure, eventually

CLONE_NEWNET = 0x40000000
MERGE, STRATEGIC, JSON_PATCH = ("application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json")
APPLY = "application/apply-patch+yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


def contains(whole, part):
    """Whether `whole` has everything that `part` says; lists are compared as a whole, item by item."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and contains(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(contains(w, p) for w, p in zip(whole, part))
    return whole == part


def must_contain(whole, part):
    if not contains(whole, part):
        raise Failure(f"lacks {json.dumps(part)}:\n{json.dumps(whole, indent=1)}")
    return whole


class Answer:
    def __init__(self, response):
        self.code = response.status
        self.headers = response.headers
        self.data = response.read()

    @property
    def json(self):
        return json.loads(self.data)

    @property
    def text(self):
        return self.data.decode()


class _Connection(http.client.HTTPSConnection):
    """Its socket is made in the namespace given: a socket stays where it was made."""

    def __init__(self, namespace, *a, **kw):
        super().__init__(*a, **kw)
        self.namespace = namespace

    def connect(self):
        enter = ctypes.CDLL(None, use_errno=True).setns
        with open("/proc/thread-self/ns/net") as own, open(self.namespace) as other:
            assert enter(other.fileno(), CLONE_NEWNET) == 0
            try:
                plain = socket.create_connection((self.host, self.port), 30)
            finally:
                assert enter(own.fileno(), CLONE_NEWNET) == 0
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


class Watch:
    def __init__(self, api, path, **query):
        self.seen = []
        self.connection = api.connection()
        query = urllib.parse.urlencode({"watch": "true", "timeoutSeconds": 120, **query})
        self.connection.request("GET", f"{path}?{query}", headers=api.headers)
        self.response = self.connection.getresponse()
        if self.response.status != 200:
            raise Failure(f"watch of {path}: {self.response.status} {self.response.read().decode()}")

    def next(self, seconds=15):
        self.connection.sock.settimeout(seconds)
        try:
            line = self.response.readline()
        except TimeoutError:
            raise Failure("no event in time; seen: " + json.dumps([(e["type"], e["object"]["metadata"]["name"]) for e in self.seen]))
        if not line:
            raise Failure("the watch ended")
        self.seen.append(json.loads(line))
        return self.seen[-1]

    def until(self, what, good, seconds=15):
        """The first event from here on for which good(type, object) holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            event = self.next(seconds)
            if good(event["type"], event["object"]):
                return event["object"]
        raise Failure(f"{what} was not seen")

    def close(self):
        self.connection.close()


class Api:
    def __init__(self, cluster, token=None, user=None):
        self.cluster = cluster
        config = json.loads(cluster.kubectl("config", "view", "--raw", "-o", "json").stdout)
        authority = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=authority)
        self.headers = {"Accept": "application/json", "User-Agent": "conformance/1"}
        if user:
            self.headers["Impersonate-User"] = user
        if token is not None:
            self.headers["Authorization"] = "Bearer " + token
        else:
            own = config["users"][0]["user"]
            pair = cluster.dir / "client.pem"
            pair.write_bytes(base64.b64decode(own["client-certificate-data"]) + base64.b64decode(own["client-key-data"]))
            self.context.load_cert_chain(pair)
        self.kept = self.connection()

    def connection(self):
        c = self.cluster
        return _Connection(f"/run/netns/{c.switch}", c.server.ip, 6443, context=self.context, timeout=30)

    def ask(self, method, path, body=None, type="application/json", headers=None, **query):
        if query:
            path += "?" + urllib.parse.urlencode(query)
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        sent = {**self.headers, **({"Content-Type": type} if body is not None else {}), **(headers or {})}
        for attempt in (0, 1):
            try:
                self.kept.request(method, path, body, sent)
                return Answer(self.kept.getresponse())
            except (http.client.HTTPException, ConnectionError):
                self.kept.close()
                if attempt:
                    raise

    def call(self, method, path, body=None, code=(200, 201, 202), **kw):
        a = self.ask(method, path, body, **kw)
        if a.code not in (code if isinstance(code, tuple) else (code,)):
            raise Failure(f"{method} {path}: {a.code}, wanted {code}\n{a.data[:2000].decode(errors='replace')}")
        return a.json if a.data[:1] in (b"{", b"[") else a.text

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def create(self, path, body, **kw):
        return self.call("POST", path, body, **kw)

    def put(self, path, body, **kw):
        return self.call("PUT", path, body, **kw)

    def patch(self, path, body, type=MERGE, **kw):
        return self.call("PATCH", path, body, type=type, **kw)

    def delete(self, path, body=None, **kw):
        return self.call("DELETE", path, body, **kw)

    def gone(self, path, seconds=15):
        eventually(f"{path} is gone", lambda: self.ask("GET", path).code == 404, seconds)

    def watch(self, path, **query):
        return contextlib.closing(Watch(self, path, **query))

    def namespace(self, name, **labels):
        self.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        eventually("its account", lambda: self.ask("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default").code == 200, 10, 0.01)
        return f"/api/v1/namespaces/{name}"
