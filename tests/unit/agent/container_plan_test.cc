#include <catch2/catch.hpp>

#include "agent/pods/container_plan.h"

using namespace agent;

namespace {

struct Inputs {
  api::core::Pod pod;
  api::core::Container container;
  runtime::Image image;
  Environment environment;
  Result<runtime::ContainerSpec> plan() {
    ContainerInputs in;
    in.pod = &pod;
    in.container = &container;
    in.image = std::make_shared<const runtime::Image>(image);
    in.environment = environment;
    in.hosts_file = "/pods/u/etc-hosts";
    in.termination_file = "/pods/u/term";
    return plan_container(std::move(in));
  }
};
using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("command and args against the image's entrypoint and cmd") {
  Inputs in;
  in.image.config.entrypoint = {"/ep"};
  in.image.config.cmd = {"c1", "c2"};
  CHECK(in.plan()->argv == Words{"/ep", "c1", "c2"});
  in.container.args = {"a"};
  CHECK(in.plan()->argv == Words{"/ep", "a"});
  in.container.command = {"/cmd"};
  CHECK(in.plan()->argv == Words{"/cmd", "a"});
  in.container.args.clear();
  CHECK(in.plan()->argv == Words{"/cmd"});
  in.environment.variables = {{"X", "1"}};
  in.container.command = {"sh", "-c", "echo $(X) $(Y)"};
  CHECK(in.plan()->argv.back() == "echo 1 $(Y)");
}

TEST_CASE("nothing to run is an error") {
  Inputs in;
  auto r = in.plan();
  REQUIRE_FALSE(r);
  CHECK(r.error().reason == "CreateContainerError");
}

TEST_CASE("the pod's environment overrides the image's") {
  Inputs in;
  in.image.config.cmd = {"x"};
  in.image.config.env = {"PATH=/bin", "A=image"};
  in.environment.variables = {{"A", "pod"}};
  CHECK(in.plan()->env == Words{"PATH=/bin", "A=pod"});
}

TEST_CASE("users: the container's, the pod's, the image's") {
  Inputs in;
  in.image.config.cmd = {"x"};
  in.image.config.user = "web";
  CHECK(in.plan()->user.image_user == "web");
  auto& p = in.pod.spec.securityContext.emplace();
  p.runAsUser = 1000;
  p.runAsGroup = 1001;
  p.fsGroup = 2000;
  p.supplementalGroups = {3000};
  p.runAsNonRoot = true;
  auto s = in.plan();
  REQUIRE(s);
  CHECK(*s->user.uid == 1000);
  CHECK(*s->user.gid == 1001);
  CHECK(s->user.supplementary_gids == std::vector<uint32_t>{3000, 2000});
  CHECK(s->user.require_non_root);
  in.container.securityContext.emplace().runAsUser = 0;
  CHECK_FALSE(in.plan());
  in.container.securityContext->runAsUser = int64_t{1} << 40;
  CHECK_FALSE(in.plan());
}

TEST_CASE("the security context is obeyed") {
  Inputs in;
  in.image.config.cmd = {"x"};
  CHECK(in.plan()->seccomp.kind == runtime::Seccomp::Kind::runtime_default);
  auto& sc = in.container.securityContext.emplace();
  sc.allowPrivilegeEscalation = false;
  sc.readOnlyRootFilesystem = true;
  sc.procMount = "Unmasked";
  sc.capabilities.emplace().drop = {"ALL"};
  sc.capabilities->add = {"NET_BIND_SERVICE"};
  sc.seccompProfile.emplace().type = "Unconfined";
  auto s = in.plan();
  REQUIRE(s);
  CHECK(s->no_new_privileges);
  CHECK(s->read_only_root);
  CHECK(s->unmasked_proc);
  CHECK(s->drop_capabilities == Words{"ALL"});
  CHECK(s->seccomp.kind == runtime::Seccomp::Kind::unconfined);
  sc.capabilities->add = {"NO_SUCH_THING"};
  CHECK_FALSE(in.plan());
  sc.capabilities->add.clear();
  sc.seccompProfile->type = "Localhost";
  CHECK_FALSE(in.plan());
  sc.seccompProfile->localhostProfile = "../x";
  CHECK_FALSE(in.plan());
  sc.seccompProfile->localhostProfile = "profiles/x.json";
  CHECK(in.plan()->seccomp.kind == runtime::Seccomp::Kind::profile);
}

TEST_CASE("managed files are mounted unless a volume is there") {
  Inputs in;
  in.image.config.cmd = {"x"};
  auto s = in.plan();
  REQUIRE(s);
  REQUIRE(s->mounts.size() == 2);
  CHECK(s->mounts[0].target == "/etc/hosts");
  CHECK(s->mounts[1].target == "/dev/termination-log");
  in.container.terminationMessagePath = "/tmp/why";
  CHECK(in.plan()->mounts[1].target == "/tmp/why");
}
