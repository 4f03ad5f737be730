// Sandbox, network and volumes of a pod.
#include <sys/stat.h>

#include <fmt/format.h>

#include "agent/pods/network_files.h"
#include "agent/pods/resources.h"
#include "agent/pods/worker.h"
#include "base/files.h"
#include "base/log.h"

namespace agent {

using namespace std::chrono_literals;

Task<> PodWorker::set_up() {
  struct End {
    PodWorker& w;
    ~End() {
      w.setting_up_ = false;
      w.wake();
    }
  } at_end{*this};
  auto r = co_await try_set_up();
  if (r) {
    ready_for_containers_ = true;
    setup_.reset();
    // Off the path to the first container.
    active_->spawn("watches of " + pod_->metadata.name, strand_, [](std::shared_ptr<PodWorker> self) -> Task<> {
      co_await base::sleep_for(1s);
      self->watch_volumes();
    }(shared_from_this()));
    co_return;
  }
  setup_.failed(base::Clock::now());
  const base::Error& e = r.error();
  if (e.reason == "FailedMount") {
    event("Warning", "FailedMount", e.message);
    // What is missing may appear at any moment.
    watch_volumes();
  } else {
    event("Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: " + e.message);
  }
}

void PodWorker::watch_volumes() {
  volumes_->watch(pod_, [weak = weak_from_this()] {
    auto self = weak.lock();
    if (!self) return;
    base::post(self->strand_, [self] {
      self->setup_.reset();
      self->refresh_wanted_ = true;
      self->wake();
    });
  });
}

Task<Result<>> PodWorker::try_set_up() {
  PodPtr pod = pod_;
  if (pod->spec.hostUsers.has_value() && !*pod->spec.hostUsers) {
    co_return base::fail(501, "FailedCreatePodSandBox", "user namespaces (hostUsers: false) are not supported by this node");
  }
  auto local = co_await volumes_->setup_local(pod);
  if (!local) co_return local;

  // The volumes that come from the API are made while the sandbox is.
  struct Fetched {
    std::optional<Result<>> result;
    base::Event done;
  };
  auto fetched = std::make_shared<Fetched>();
  active_->spawn("volumes of " + pod->metadata.name, strand_,
                 [](std::shared_ptr<PodWorker> self, PodPtr p, std::shared_ptr<Fetched> out) -> Task<> {
                   auto r = co_await self->volumes_->setup_from_api(p, self->facts());
                   out->result = std::move(r);
                   out->done.notify();
                 }(shared_from_this(), pod, fetched));

  if (sandbox_ && !sandbox_->alive()) {
    auto old = std::exchange(sandbox_, nullptr);
    auto gone = co_await old->destroy();
    if (!gone) co_return gone;
    ++sandbox_attempt_;
  }
  bool fresh = !sandbox_;
  if (fresh) {
    runtime::SandboxSpec spec;
    spec.id = sandbox_attempt_ == 0 ? uid_ : fmt::format("{}-{}", uid_, sandbox_attempt_);
    spec.hostname = pod_hostname(*pod, context_.cluster_domain).name;
    spec.host_network = pod->spec.hostNetwork.value_or(false);
    spec.host_pid = pod->spec.hostPID.value_or(false);
    spec.host_ipc = pod->spec.hostIPC.value_or(false);
    spec.share_pid = pod->spec.shareProcessNamespace.value_or(false);
    if (pod->spec.securityContext) {
      for (const auto& s : pod->spec.securityContext->sysctls) spec.sysctls[s.name] = s.value;
    }
    spec.cgroup_parent = pod_cgroup(*pod);
    // What was granted may be more or less than what the object asks for now.
    spec.resources = pod_resources(allocated_pod());
    spec.labels = {{"uid", uid_},
                   {"namespace", pod->metadata.namespace_},
                   {"name", pod->metadata.name},
                   {"attempt", std::to_string(sandbox_attempt_)}};
    auto made = co_await context_.sandboxes.create(std::move(spec));
    if (!made) co_return std::unexpected(std::move(made).error());
    sandbox_ = std::move(*made);
  }
  auto images = co_await mount_images(pod);
  if (!images) co_return images;
  auto attached = co_await attach_network();
  if (!attached) co_return attached;
  auto files = co_await base::offload([&context = context_, dir = volume_settings().pod_dir, pod, ips = ips_, fresh] {
    return write_pod_files(context, dir, pod, ips, fresh);
  });
  if (!files) co_return files;
  for (;;) {
    uint64_t seen = fetched->done.version();
    if (fetched->result) break;
    co_await fetched->done.wait(seen);
  }
  co_return *fetched->result;
}

// Volumes that are images: pulled as those of containers are.
Task<Result<>> PodWorker::mount_images(PodPtr pod) {
  for (const auto& v : pod->spec.volumes) {
    if (!v.image) continue;
    auto as_container = std::make_shared<api::core::Container>();
    as_container->name = v.name;
    as_container->image = v.image->reference;
    as_container->imagePullPolicy = v.image->pullPolicy;
    auto image = co_await find_image(as_container);
    if (!image)
      co_return base::fail(image.error().code, "FailedMount",
                           fmt::format("volume \"{}\": {}: {}", v.name, image.error().reason, image.error().message));
    context_.images.touch((*image)->id);
    CO_TRY(auto layers, context_.images.layers(**image));
    auto mounted = co_await volumes_->mount_image(v.name, std::move(layers));
    if (!mounted) co_return mounted;
  }
  co_return Result<>{};
}

Task<Result<>> PodWorker::attach_network() {
  if (pod_->spec.hostNetwork.value_or(false)) {
    ips_ = context_.host_ips();
    co_return Result<>{};
  }
  network::Pods* pods = context_.network();
  if (!pods) co_return base::unavailable("the network of this node is not ready");
  network::PodRequest request;
  request.id = uid_;
  auto add = [&](const api::core::Container& c) {
    for (const auto& p : c.ports) {
      if (p.hostPort.value_or(0) <= 0) continue;
      network::HostPort h;
      if (auto protocol = network::parse_protocol(p.protocol)) h.protocol = *protocol;
      h.host_port = static_cast<uint16_t>(*p.hostPort);
      h.container_port = static_cast<uint16_t>(p.containerPort);
      if (auto ip = network::Ip::parse(p.hostIP); ip && p.hostIP != "0.0.0.0") h.host_ip = *ip;
      request.host_ports.push_back(h);
    }
  };
  for (const auto& c : pod_->spec.initContainers) add(c);
  for (const auto& c : pod_->spec.containers) add(c);
  if (auto ip = network::Ip::parse(pod_->status.podIP)) request.ip = *ip;
  auto sandbox = sandbox_;
  auto got = co_await base::offload([pods, sandbox, request] { return pods->attach(sandbox->netns_fd(), request); });
  if (!got) co_return std::unexpected(std::move(got).error());
  ips_ = {got->ip.str()};
  host_link_ = got->host_link;
  // Nothing of the pod runs before what it may not do is forbidden.
  co_return co_await context_.policies(pod_, ips_);
}

Result<> PodWorker::write_pod_files(const PodContext& context, const std::string& dir, PodPtr pod, std::vector<std::string> ips,
                                    bool fresh) {
  CHECK_OK(base::make_dirs(dir, 0755));
  auto host_resolv = base::read_file("/etc/resolv.conf", 1 << 20);
  auto host_hosts = base::read_file("/etc/hosts", 1 << 20);
  DnsSettings dns{context.cluster_dns, context.cluster_domain, host_resolv.value_or("")};
  PodHostname hostname = pod_hostname(*pod, context.cluster_domain);
  auto write = [&](const char* name, const std::string& text) {
    std::string path = dir + "/" + name;
    // Replacing would cut the file off from containers that have it mounted.
    if (!fresh && base::exists(path)) return Result<>{};
    return base::write_file_atomic(path, text, 0644, false);
  };
  CHECK_OK(write("etc-hosts", pod_hosts_file(*pod, ips, hostname, host_hosts.value_or(""))));
  CHECK_OK(write("hostname", hostname.name + "\n"));
  return write("resolv.conf", pod_resolv_conf(*pod, dns).text());
}

Task<> PodWorker::refresh_volumes() {
  struct End {
    PodWorker& w;
    ~End() {
      w.refreshing_ = false;
      w.wake();
    }
  } at_end{*this};
  auto r = co_await volumes_->setup_from_api(pod_, facts());
  if (!r) {
    // Containers keep what they have; only a required object that vanished comes here.
    base::log::warn("agent", "volumes of pod {}/{}: {}", pod_->metadata.namespace_, pod_->metadata.name, r.error().message);
  }
}

}  // namespace agent
