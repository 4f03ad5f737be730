"""Who one is and what one may do, asked by kubectl, old and new, of a server without an agent."""
import base64
import json
import subprocess

from harness import BINARY, Cluster, eventually, run


def openssl(*argv, stdin=None):
    return subprocess.run(["openssl", *argv], input=stdin, capture_output=True, check=True).stdout


class Auth:
    def __init__(self, c):
        self.c = c

    # Credentials given on the command line count before those of the kubeconfig, but its certificate would be sent with them.
    def as_token(self, token, *argv, old=False, check=True):
        return self.with_user({"token": token}, *argv, old=old, check=check)

    def with_user(self, user, *argv, old=False, check=True):
        path = self.c.dir / "user.json"
        config = json.loads(self.c.kubectl("config", "view", "--raw", "-o", "json").stdout)
        config["users"][0]["user"] = user
        path.write_text(json.dumps(config))
        return self.c.kubectl("--kubeconfig", str(path), *argv, old=old, check=check)

    def tokens_of_service_accounts_sign_in(self):
        c = self.c
        c.kubectl("create", "serviceaccount", "robot")
        eventually("the account's namespace has its own", lambda: c.kubectl("get", "serviceaccount", "default", check=False).returncode == 0)
        token = c.kubectl("create", "token", "robot", "--duration", "20m").stdout.strip()
        who = json.loads(self.as_token(token, "auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]
        assert who["username"] == "system:serviceaccount:default:robot", who
        assert who["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI="), who
        assert self.as_token(token, "get", "pods", check=False).returncode != 0
        c.kubectl("create", "rolebinding", "robot", "--clusterrole=view", "--serviceaccount=default:robot")
        for old in (False, True):
            eventually("the binding counts", lambda: self.as_token(token, "auth", "can-i", "list", "pods", old=old, check=False).stdout.strip() == "yes")
            assert self.as_token(token, "auth", "can-i", "delete", "pods", old=old, check=False).stdout.strip() == "no"
            assert "pods" in self.as_token(token, "auth", "can-i", "--list", old=old).stdout

    def a_secret_for_a_token_is_filled(self):
        c = self.c
        c.apply("apiVersion: v1\nkind: Secret\nmetadata: {name: robot-token, annotations: {kubernetes.io/service-account.name: robot}}\ntype: kubernetes.io/service-account-token\n")
        data = eventually("the token is there", lambda: c.get("secret", "robot-token").get("data"))
        token = base64.b64decode(data["token"]).decode()
        assert self.as_token(token, "auth", "can-i", "list", "pods", old=True).stdout.strip() == "yes"
        c.kubectl("delete", "serviceaccount", "robot")
        eventually("the secret is gone", lambda: c.kubectl("get", "secret", "robot-token", check=False).returncode != 0)
        assert "provide credentials" in (r := self.as_token(token, "get", "pods", check=False)).stderr or "Unauthorized" in r.stderr, r

    def certificates_are_approved_and_denied(self):
        c = self.c
        for old in (False, True):
            name = "old" if old else "new"
            key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
            (c.dir / "user.key").write_bytes(key)
            csr = openssl("req", "-new", "-key", str(c.dir / "user.key"), "-subj", f"/O=devs/CN={name}")
            for request in (name, name + "-denied"):
                c.apply(json.dumps({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": request},
                                        "spec": {"request": base64.b64encode(csr).decode(), "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"],
                                                 "expirationSeconds": 3600}}))
            c.kubectl("certificate", "approve", name, old=old)
            c.kubectl("certificate", "deny", name + "-denied", old=old)
            pem = eventually("the certificate is there", lambda: c.get("csr", name)["status"].get("certificate"))
            (c.dir / "user.crt").write_bytes(base64.b64decode(pem))
            r = self.with_user({"client-certificate": str(c.dir / "user.crt"), "client-key": str(c.dir / "user.key")}, "get", "pods", check=False, old=old)
            assert f'User "{name}" cannot list resource "pods"' in r.stderr, r
            assert "Denied" in c.kubectl("get", "csr", name + "-denied", old=old).stdout

    def a_certificate_of_another_ca_is_401(self):
        c = self.c
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(c.dir / "x.key"), "-out", str(c.dir / "x.crt"), "-days", "1",
                "-subj", "/O=system:masters/CN=root")
        r = run(*c.server.enter("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--cert", str(c.dir / "x.crt"), "--key", str(c.dir / "x.key"), f"https://{c.server.ip}:6443/api"))
        assert r.stdout == "401", r

    def impersonation_shows_another_users_view(self):
        c = self.c
        for old in (False, True):
            assert c.kubectl("auth", "can-i", "get", "pods", "--as", "nobody", check=False, old=old).stdout.strip() == "no"
            assert c.kubectl("auth", "can-i", "get", "pods", "--as", "nobody", "--as-group", "system:masters", old=old).stdout.strip() == "yes"

    def reconcile_adds_what_is_missing(self):
        c = self.c
        role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reconciled}\nrules:\n"
        c.apply(role + "- {apiGroups: [''], resources: [pods], verbs: [get]}\n")
        for old, verb in ((False, "list"), (True, "watch")):
            c.kubectl("auth", "reconcile", "-f", "-", stdin=role + f"- {{apiGroups: [''], resources: [pods], verbs: [{verb}]}}\n", old=old)
            verbs = {v for rule in c.get("clusterrole", "reconciled")["rules"] for v in rule["verbs"]}
            assert {"get", verb} <= verbs, verbs

    def default_roles_come_back_at_start(self):
        c = self.c
        c.kubectl("patch", "clusterrole", "system:basic-user", "--type=json", "-p", '[{"op":"remove","path":"/rules/0"}]')
        c.kubectl("annotate", "--overwrite", "clusterrole", "system:heapster", "rbac.authorization.kubernetes.io/autoupdate=false")
        c.kubectl("patch", "clusterrole", "system:heapster", "--type=json", "-p", '[{"op":"remove","path":"/rules/0"}]')
        c.server.restart()
        eventually("the server is back", c.ready, 30)
        assert len(c.get("clusterrole", "system:basic-user")["rules"]) == 2
        assert len(c.get("clusterrole", "system:heapster")["rules"]) == 1

    def the_keys_of_tokens_are_published_and_rotated(self):
        c = self.c
        flags = ["--data-dir", str(c.server.data)]
        before = c.kubectl("create", "token", "default").stdout.strip()
        assert ".pub" in run(BINARY, "token", "rotate-key", *flags).stdout
        eventually("two keys are published", lambda: len(json.loads(c.kubectl("get", "--raw", "/openid/v1/jwks").stdout)["keys"]) == 2)
        after = c.kubectl("create", "token", "default").stdout.strip()
        assert before.split(".")[0] != after.split(".")[0]
        for token in (before, after):
            assert "system:serviceaccount:default:default" in self.as_token(token, "auth", "whoami").stdout
        about = json.loads(c.kubectl("get", "--raw", "/.well-known/openid-configuration").stdout)
        assert about["issuer"] == "https://kubernetes.default.svc.cluster.local", about

    def join_tokens_of_limited_life_are_made_listed_and_ended(self):
        c = self.c
        n = c.server
        flags = ["--data-dir", str(n.data), "--write-kubeconfig", str(n.dir / "kubeconfig.yaml")]
        token = n.sh(BINARY, "token", "create", "--ttl", "1h", "--description", "rack 4", *flags).stdout.strip()
        head, secret = token.split("::agent:")
        assert head.startswith("A10") and len(secret) == 23, token
        listed = n.sh(BINARY, "token", "list", *flags).stdout
        assert secret[:6] in listed and "rack 4" in listed and secret[7:] not in listed, listed
        assert secret[7:] not in c.kubectl("get", "secret", "-n", "kube-system", "join-token-" + secret[:6], "-o", "yaml").stdout
        n.sh(BINARY, "token", "delete", secret[:6], *flags)
        assert secret[:6] not in n.sh(BINARY, "token", "list", *flags).stdout
        r = n.sh(BINARY, "token", "create", "--ttl", "soon", *flags, check=False)
        assert r.returncode == 1 and "--ttl" in r.stderr, r


def scenario():
    with Cluster(nodes=1) as c:
        c.server.start_server("--disable-agent")
        eventually("server is ready", c.ready, 30)
        a = Auth(c)
        for name in [n for n in vars(Auth) if n[0] != "_" and n not in ("as_token", "with_user")]:
            yield name.replace("_", " "), getattr(a, name)
        yield "the control plane lacked no rights", c.the_control_plane_lacked_no_rights
