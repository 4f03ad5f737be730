"""What programs with the official Python client do. python_client.py KUBECONFIG SERVER IMAGE; ends with 0 when all is as they expect."""
import sys

from kubernetes import client, config, dynamic, watch
from kubernetes.stream import stream

kubeconfig, server, image = sys.argv[1:]
config.load_kube_config(kubeconfig)
settings = client.Configuration.get_default_copy()
settings.host = server
client.Configuration.set_default(settings)
core, apps = client.CoreV1Api(), client.AppsV1Api()

assert [n.metadata.name for n in core.list_node().items] == ["n1"]

# Objects without kind and version, as the typed calls send them.
apps.create_namespaced_deployment("default", {"metadata": {"name": "py"}, "spec": {
    "replicas": 2, "selector": {"matchLabels": {"app": "py"}}, "template": {"metadata": {"labels": {"app": "py"}}, "spec": {
        "terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": image, "command": ["sleep", "1000"]}]}}}})

w = watch.Watch()
running = set()
for event in w.stream(core.list_namespaced_pod, "default", label_selector="app=py", timeout_seconds=30):
    if event["object"].status.phase == "Running":
        running.add(event["object"].metadata.name)
    if len(running) == 2:
        w.stop()
assert len(running) == 2, running

pod = sorted(running)[0]
said = stream(core.connect_get_namespaced_pod_exec, pod, "default", command=["sh", "-c", "echo out; echo err >&2"], stderr=True, stdin=False, stdout=True, tty=False)
assert sorted(said.split()) == ["err", "out"], said
assert apps.patch_namespaced_deployment_scale("py", "default", {"spec": {"replicas": 1}}).spec.replicas == 1

try:
    core.read_namespaced_pod("nope", "default")
    raise AssertionError("a pod that is not there was found")
except client.ApiException as e:
    assert e.status == 404 and '"reason":"NotFound"' in e.body.replace(" ", ""), e.body

maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
assert maps.create(body={"metadata": {"name": "dynamic"}, "data": {"a": "b"}}, namespace="default").data.a == "b"
assert maps.patch(name="dynamic", namespace="default", body={"data": {"c": "d"}}, content_type="application/merge-patch+json").to_dict()["data"] == {"a": "b", "c": "d"}

review = client.AuthorizationV1Api().create_self_subject_access_review({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}})
assert review.status.allowed

apps.delete_namespaced_deployment("py", "default", propagation_policy="Foreground")
for event in watch.Watch().stream(apps.list_namespaced_deployment, "default", timeout_seconds=30):
    if event["type"] == "DELETED":
        break
assert not core.list_namespaced_pod("default", label_selector="app=py").items
