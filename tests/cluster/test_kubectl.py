"""What kubectl users read: explanations, conflicts, refusals, warnings; with the oldest and the newest client."""
from harness import Cluster

CONFIG = """apiVersion: v1
kind: ConfigMap
metadata: {name: %s}
data: {a: "%s"}
%s"""


class Reader:
    def __init__(self, c):
        self.c = c

    def ask(self, *args, old=False, ok=True, **kw):
        r = self.c.kubectl(*args, old=old, check=False, **kw)
        assert (r.returncode == 0) == ok, r
        return r.stdout + r.stderr

    def every_field_of_a_pod_is_explained(self):
        for old in (False, True):
            text = self.ask("explain", "pod.spec.containers.livenessProbe", old=old)
            assert "Make an HTTP request." in text and "periodSeconds" in text, text
            text = self.ask("explain", "deployment.spec.strategy", old=old)
            assert "DESCRIPTION" in text and "rollingUpdate" in text, text
        assert "jobTemplate" in self.ask("explain", "cronjob.spec", "--recursive")

    def unknown_fields_are_refused_by_name(self):
        text = self.ask("create", "-f", "-", ok=False, stdin=CONFIG % ("strict", 1, "foo: 1"))
        assert 'strict decoding error: unknown field "foo"' in text, text
        text = self.ask("create", "--validate=warn", "-f", "-", stdin=CONFIG % ("strict", 1, "foo: 1"))
        assert 'Warning: unknown field "foo"' in text and "created" in text, text
        text = self.ask("apply", "--server-side", "-f", "-", "--validate=ignore", ok=False, stdin=CONFIG % ("strict", 1, "foo: 1"))
        assert ".foo: field not declared in schema" in text, text

    def conflicts_name_the_manager_and_the_field(self):
        for old in (False, True):
            name = "owned-old" if old else "owned"
            self.ask("apply", "-f", "-", old=old, stdin=CONFIG % (name, 1, ""))
            # From client-side to server-side apply without a conflict with oneself.
            self.ask("apply", "--server-side", "-f", "-", old=old, stdin=CONFIG % (name, 2, ""))
            text = self.ask("apply", "--server-side", "--field-manager=other", "-f", "-", old=old, ok=False, stdin=CONFIG % (name, 3, ""))
            assert 'conflict with "kubectl": .data.a' in text or 'conflicts with "kubectl":\n- .data.a' in text, text
            self.ask("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", old=old, stdin=CONFIG % (name, 3, ""))
            assert self.c.get("configmap", name)["data"] == {"a": "3"}

    def what_cannot_be_selected_by_is_said_once(self):
        text = self.ask("get", "pods", "--field-selector", "spec.foo=1", ok=False)
        assert text.count("Unable to find") == 1 and text.strip().endswith("field label not supported: spec.foo"), text
        text = self.ask("get", "configmaps", "-l", "a in (b", ok=False)
        assert text.strip().endswith("unable to parse requirement: found '', expected: ',' or ')'"), text

    def pages_are_put_together(self):
        for i in range(7):
            self.ask("create", "configmap", f"page-{i}", "--from-literal=a=b")
        for old in (False, True):
            names = self.ask("get", "configmaps", "--chunk-size=2", "-o", "name", old=old).split()
            assert sum("page-" in n for n in names) == 7, names
        self.ask("delete", "configmaps", *[f"page-{i}" for i in range(7)])

    def a_dry_run_of_the_server_changes_nothing(self):
        assert "created (server dry run)" in self.ask("create", "configmap", "dry", "--from-literal=a=b", "--dry-run=server")
        assert "NotFound" in self.ask("get", "configmap", "dry", ok=False)
        assert "(server dry run)" in self.ask("delete", "configmap", "strict", "--dry-run=server")
        self.ask("get", "configmap", "strict")


def scenario():
    with Cluster(nodes=1) as c:
        c.start()
        r = Reader(c)
        for name in [n for n in vars(Reader) if n[0] != "_" and n != "ask"]:
            yield name.replace("_", " "), getattr(r, name)
