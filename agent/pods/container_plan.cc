#include "agent/pods/container_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "agent/pods/resources.h"

namespace agent {

namespace {

base::Failure config_error(std::string message) { return base::fail(400, "CreateContainerConfigError", std::move(message)); }

Result<uint32_t> id32(int64_t v, std::string_view what) {
  if (v < 0 || v > 0xffffffffLL - 1) return config_error(fmt::format("{} {} is out of range", what, v));
  return static_cast<uint32_t>(v);
}

void add_bind(std::vector<runtime::Mount>& mounts, const std::string& source, const std::string& target) {
  if (source.empty()) return;
  // A volume mounted there by the pod wins.
  if (std::any_of(mounts.begin(), mounts.end(), [&](const auto& m) { return m.target == target; })) return;
  runtime::Mount m;
  m.source = source;
  m.target = target;
  m.recursive = false;
  mounts.push_back(std::move(m));
}

}  // namespace

Result<SeccompChoice> seccomp_choice(const api::core::Pod& pod, const api::core::Container& container) {
  const api::core::SeccompProfile* p = nullptr;
  if (pod.spec.securityContext && pod.spec.securityContext->seccompProfile) p = pod.spec.securityContext->seccompProfile.get();
  if (container.securityContext && container.securityContext->seccompProfile) p = container.securityContext->seccompProfile.get();
  SeccompChoice c;
  if (!p || p->type == "RuntimeDefault") return c;
  if (p->type == "Unconfined") {
    c.kind = runtime::Seccomp::Kind::unconfined;
  } else if (p->type == "Localhost") {
    c.kind = runtime::Seccomp::Kind::profile;
    c.localhost_profile = p->localhostProfile;
    if (c.localhost_profile.empty()) return config_error("localhostProfile must be set if seccompProfile type is Localhost.");
    if (c.localhost_profile[0] == '/' || c.localhost_profile.find("..") != std::string::npos) {
      return config_error(fmt::format("localhostProfile \"{}\" must be a relative path without ..", c.localhost_profile));
    }
  } else {
    return config_error(fmt::format("unknown seccompProfile type \"{}\"", p->type));
  }
  return c;
}

Result<runtime::ContainerSpec> plan_container(ContainerInputs in) {
  const auto& pod = *in.pod;
  const auto& c = *in.container;
  const runtime::ImageConfig& image = in.image->config;
  runtime::ContainerSpec s;
  s.id = in.id;
  s.pid_of = in.pid_of;
  s.name = c.name;
  s.layers = std::move(in.layers);
  s.labels = std::move(in.labels);

  Variables variables = in.environment.as_map();
  auto expanded = [&](const std::vector<std::string>& words) {
    std::vector<std::string> out;
    for (const auto& w : words) out.push_back(expand_references(w, variables));
    return out;
  };
  // The image's CMD belongs to its ENTRYPOINT: a command of the pod replaces both.
  std::vector<std::string> args = c.args.empty() && c.command.empty() ? image.cmd : expanded(c.args);
  s.argv = c.command.empty() ? image.entrypoint : expanded(c.command);
  s.argv.insert(s.argv.end(), args.begin(), args.end());
  if (s.argv.empty())
    return base::fail(400, "CreateContainerError",
                      fmt::format("no command specified: neither container \"{}\" nor its image names one", c.name));
  s.cwd = c.workingDir.empty() ? image.working_dir : c.workingDir;

  for (const auto& e : image.env) {
    if (!variables.contains(e.substr(0, e.find('=')))) s.env.push_back(e);
  }
  for (const auto& [name, value] : in.environment.variables) s.env.push_back(name + "=" + value);

  const api::core::PodSecurityContext* pc = pod.spec.securityContext.get();
  const api::core::SecurityContext* sc = c.securityContext.get();
  s.user.image_user = image.user;
  std::optional<int64_t> uid = sc && sc->runAsUser ? sc->runAsUser : pc ? pc->runAsUser : std::nullopt;
  std::optional<int64_t> gid = sc && sc->runAsGroup ? sc->runAsGroup : pc ? pc->runAsGroup : std::nullopt;
  if (uid) {
    TRY(s.user.uid, id32(*uid, "runAsUser"));
  }
  if (gid) {
    TRY(s.user.gid, id32(*gid, "runAsGroup"));
  }
  s.user.require_non_root = (sc && sc->runAsNonRoot ? *sc->runAsNonRoot : pc && pc->runAsNonRoot.value_or(false));
  if (s.user.require_non_root && uid && *uid == 0) return config_error("container's runAsUser breaks non-root policy");
  if (pc) {
    for (int64_t g : pc->supplementalGroups) {
      TRY(uint32_t id, id32(g, "supplementalGroups"));
      s.user.supplementary_gids.push_back(id);
    }
    if (pc->fsGroup) {
      TRY(uint32_t id, id32(*pc->fsGroup, "fsGroup"));
      s.user.supplementary_gids.push_back(id);
    }
    s.user.merge_image_groups = pc->supplementalGroupsPolicy != "Strict";
  }
  if (sc) {
    s.privileged = sc->privileged.value_or(false);
    s.read_only_root = sc->readOnlyRootFilesystem.value_or(false);
    s.no_new_privileges = sc->allowPrivilegeEscalation.has_value() && !*sc->allowPrivilegeEscalation && !s.privileged;
    s.unmasked_proc = sc->procMount == "Unmasked";
    if (sc->capabilities) {
      s.add_capabilities = sc->capabilities->add;
      s.drop_capabilities = sc->capabilities->drop;
      for (const auto* list : {&s.add_capabilities, &s.drop_capabilities}) {
        for (const auto& name : *list) {
          if (name != "ALL" && name != "all" && !runtime::parse_capability(name))
            return config_error(fmt::format("unknown capability \"{}\"", name));
        }
      }
    }
  }
  TRY(SeccompChoice seccomp, seccomp_choice(pod, c));
  s.seccomp.kind = seccomp.kind;
  s.seccomp.profile_json = std::move(in.seccomp_profile);

  s.mounts = std::move(in.mounts);
  add_bind(s.mounts, in.hosts_file, "/etc/hosts");
  add_bind(s.mounts, in.hostname_file, "/etc/hostname");
  add_bind(s.mounts, in.resolv_conf_file, "/etc/resolv.conf");
  add_bind(s.mounts, in.termination_file, c.terminationMessagePath.empty() ? "/dev/termination-log" : c.terminationMessagePath);

  s.tty = c.tty.value_or(false);
  s.stdin_open = c.stdin.value_or(false);
  s.stdin_once = c.stdinOnce.value_or(false);
  s.resources = container_resources(c);
  s.oom_score_adj = oom_score_adj(pod, c, in.node_memory_bytes);
  s.stop_signal = c.lifecycle && !c.lifecycle->stopSignal.empty() ? c.lifecycle->stopSignal : image.stop_signal;
  s.log.path = in.log_path;
  return s;
}

}  // namespace agent
