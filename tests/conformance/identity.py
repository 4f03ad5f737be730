"""ServiceAccounts, their tokens and who may what, over the API alone."""
import base64
import json

from client import Api, must_contain
from harness import eventually


def claims(token):
    part = lambda i: json.loads(base64.urlsafe_b64decode(token.split(".")[i] + "=="))
    return part(0), part(1)


class Identity:
    def __init__(self, api):
        self.api = api
        self.path = "/api/v1/namespaces/identity"

    def _token(self, account="default", **spec):
        return self.api.create(f"{self.path}/serviceaccounts/{account}/token", {"spec": spec})["status"]["token"]

    def a_token_is_reviewed_and_says_who_it_is(self):
        api, token = self.api, self._token()
        review = lambda **spec: api.create("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec}, code=201)["status"]
        good = must_contain(review(token=token), {"authenticated": True, "user": {"username": "system:serviceaccount:identity:default"}})
        assert {"system:serviceaccounts", "system:serviceaccounts:identity", "system:authenticated"} <= set(good["user"]["groups"])
        assert good["user"]["uid"] == api.get(f"{self.path}/serviceaccounts/default")["metadata"]["uid"] and good["audiences"]
        assert review(token="bad").get("authenticated") is not True
        own = Api(api.cluster, token=token).create("/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, code=201)["status"]["userInfo"]
        assert own["username"] == good["user"]["username"] and own["extra"]["authentication.kubernetes.io/credential-id"], own

    def access_is_reviewed_for_oneself_for_others_and_in_a_namespace(self):
        api, name = self.api, "system:serviceaccount:identity:default"
        root, wish = "/apis/authorization.k8s.io/v1", {"namespace": "identity", "verb": "list", "resource": "configmaps", "version": "v1"}
        as_user = Api(api.cluster, user=name)

        def allowed():
            answers = [api.create(f"{root}/subjectaccessreviews",
                {"spec": {"user": name, "groups": ["system:authenticated"], "resourceAttributes": wish}}, code=201),
                       as_user.create(f"{root}/selfsubjectaccessreviews", {"spec": {"resourceAttributes": wish}}, code=201),
                       api.create(f"{root}/namespaces/identity/localsubjectaccessreviews", {"metadata": {"namespace": "identity"}, "spec": {
                           "user": name, "resourceAttributes": wish}}, code=201)]
            got = {a["status"]["allowed"] for a in answers}
            assert len(got) == 1, answers
            return got.pop()
        assert not allowed()
        assert as_user.get(f"{self.path}/configmaps", code=403)["reason"] == "Forbidden"
        roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/identity"
        api.create(f"{roles}/rolebindings", {"metadata": {"name": "v"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                                             "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "identity"}]})
        assert allowed()
        rules = as_user.create(f"{root}/selfsubjectrulesreviews", {"spec": {"namespace": "identity"}})["status"]
        assert any("configmaps" in r.get("resources", []) and "list" in r["verbs"] for r in rules["resourceRules"]) and rules["nonResourceRules"]
        assert as_user.get(f"{self.path}/configmaps")["kind"] == "ConfigMapList"

    def an_account_is_updated(self):
        api, path = self.api, f"{self.path}/serviceaccounts"
        o = api.create(path, {"metadata": {"name": "updated"}})
        o["automountServiceAccountToken"] = False
        assert api.put(f"{path}/updated", o)["automountServiceAccountToken"] is False
        pod = api.create(f"{self.path}/pods", {"metadata": {"name": "p"},
            "spec": {"serviceAccountName": "updated", "schedulerName": "nobody",
                                                                                 "containers": [{"name": "c", "image": "i"}]}})
        assert not pod["spec"].get("volumes"), pod["spec"]
        api.delete(f"{self.path}/pods/p")

    def the_issuer_is_found_by_those_who_trust_it(self):
        api, token = self.api, self._token(audiences=["oidc-discovery-test"], expirationSeconds=600)
        head, body = claims(token)
        assert body["aud"] == ["oidc-discovery-test"] and body["sub"] == "system:serviceaccount:identity:default"
        own = Api(api.cluster, token=self._token())
        document = own.get("/.well-known/openid-configuration")
        assert document["issuer"] == body["iss"] and head["alg"] in document["id_token_signing_alg_values_supported"], document
        assert document["response_types_supported"] == ["id_token"] and document["subject_types_supported"] == ["public"]
        keys = own.ask("GET", "/openid/v1/jwks")
        assert keys.headers["Content-Type"] == "application/jwk-set+json"
        assert document["jwks_uri"].endswith("/openid/v1/jwks") and head["kid"] in {k["kid"] for k in keys.json["keys"]}
        nobody = Api(api.cluster, token="")
        del nobody.headers["Authorization"]
        assert nobody.ask("GET", "/openid/v1/jwks").code in (401, 403)
        assert Api(api.cluster, token=token).ask("GET", "/api").code == 401  # of another audience

    def the_root_certificate_comes_back(self):
        api, path = self.api, f"{self.path}/configmaps"
        before = eventually("it is there", lambda: api.get(f"{path}/kube-root-ca.crt")["data"], 10)
        assert "BEGIN CERTIFICATE" in before["ca.crt"]
        api.delete(f"{path}/kube-root-ca.crt")
        again = lambda: api.ask("GET", f"{path}/kube-root-ca.crt").code == 200 and api.get(f"{path}/kube-root-ca.crt")["data"] == before
        eventually("it is made again", again, 10)
        api.patch(f"{path}/kube-root-ca.crt", {"data": {"ca.crt": "", "more": "x"}})
        eventually("it is put right", again, 10)


def cases(api):
    api.namespace("identity")
    own = Identity(api)
    for name in [n for n in vars(Identity) if n[0] != "_"]:
        yield name.replace("_", " "), getattr(own, name)
