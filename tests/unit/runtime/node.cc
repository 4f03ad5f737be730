#include "node.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "base/bytes.h"
#include "base/files.h"
#include "runtime/container/cgroups.h"

namespace runtime::test {

namespace {

void make_image(const std::string& root) {
  for (const char* d : {"", "/bin", "/etc", "/tmp", "/root", "/var"}) REQUIRE(base::make_dirs(root + d, 0755));
  auto busybox = base::read_file("/bin/busybox");
  REQUIRE(busybox);
  REQUIRE(base::write_file_atomic(root + "/bin/busybox", *busybox, 0755, false));
  for (const char* name :
       {"sh",   "true",  "false", "cat",      "echo", "id",  "ls",    "mount",  "sleep",   "env", "pwd",    "grep", "touch", "kill",
        "ps",   "head",  "dd",    "hostname", "stty", "tty", "mknod", "chroot", "unshare", "wc",  "tr",     "yes",  "nc",    "readlink",
        "stat", "mkdir", "trap",  "test",     "rm",   "seq", "awk",   "umount", "find",    "ip",  "sysctl", "tail"}) {
    (void)!::symlink("busybox", (root + "/bin/" + name).c_str());
  }
  REQUIRE(
      base::write_file_atomic(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1001:1002:App:/home/app:/bin/sh\n", 0644, false));
  REQUIRE(base::write_file_atomic(root + "/etc/group", "root:x:0:\napps:x:1002:\nextra:x:1003:app,other\n", 0644, false));
  ::chmod((root + "/tmp").c_str(), 01777);
}

size_t mounts_below(const std::string& dir) {
  auto text = base::read_file("/proc/self/mountinfo");
  size_t n = 0;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) n += line.find(" " + dir) != std::string::npos;
  return n;
}

}  // namespace

Node::Node() : events_(std::make_shared<std::pair<std::mutex, std::vector<SandboxEvent>>>()) {
  std::string name = "runtime-test-" + std::to_string(::getpid()) + "-" + base::random_suffix(4);
  dir = "/var/tmp/" + name;
  image = dir + "/image";
  cgroup_root = "/" + name;
  make_image(image);
  runtime_ = std::make_unique<base::Runtime>(2);
  sandboxes_ = std::make_unique<Sandboxes>(*runtime_, options());
}

Node::~Node() {
  sandboxes_.reset();
  runtime_.reset();
  CHECK(mounts_below(dir) == 0);
  (void)base::remove_all(dir);
  auto left = Cgroups::detect(cgroup_root);
  for (const auto& h : left->hierarchies()) {
    std::string top = left->directory(h, "/");
    ::rmdir((top + "/kubepods").c_str());
    CHECK((::rmdir(top.c_str()) == 0 || errno == ENOENT));
  }
}

SandboxesOptions Node::options() {
  SandboxesOptions o;
  o.data_dir = dir + "/data";
  o.run_dir = dir + "/run";
  o.cgroup_root = cgroup_root;
  o.on_event = [events = events_](const SandboxEvent& e) {
    std::scoped_lock lock(events->first);
    events->second.push_back(e);
  };
  return o;
}

std::vector<SandboxEvent> Node::events() const {
  std::scoped_lock lock(events_->first);
  return events_->second;
}

namespace {

base::Task<> whole(Node& node, std::function<base::Task<>()> body) {
  auto recovered = co_await node.sandboxes().recover();
  std::exception_ptr failure;
  if (recovered) {
    try {
      co_await body();
    } catch (...) {
      failure = std::current_exception();
    }
  }
  for (const auto& s : node.sandboxes().list()) {
    auto destroyed = co_await s->destroy();
    if (!destroyed) WARN(destroyed.error().message);
  }
  co_await node.sandboxes().stop();
  if (!recovered) throw std::runtime_error(recovered.error().message);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

void Node::run(std::function<base::Task<>()> body) {
  std::exception_ptr failure;
  auto guarded = [](Node& node, std::function<base::Task<>()> b, std::exception_ptr& out) -> base::Task<> {
    try {
      co_await whole(node, std::move(b));
    } catch (...) {
      out = std::current_exception();
    }
  };
  base::run_to_end(*runtime_, guarded(*this, std::move(body), failure));
  if (failure) std::rethrow_exception(failure);
}

base::Task<std::vector<SandboxPtr>> Node::restart() {
  co_await sandboxes_->stop();
  sandboxes_ = std::make_unique<Sandboxes>(*runtime_, options());
  auto found = co_await sandboxes_->recover();
  if (!found) throw std::runtime_error(found.error().message);
  co_return *found;
}

base::Task<SandboxPtr> Node::sandbox(SandboxSpec spec) {
  if (spec.id.empty()) spec.id = "pod" + std::to_string(++count_);
  if (spec.hostname.empty()) spec.hostname = "the-host";
  if (spec.cgroup_parent.empty()) spec.cgroup_parent = "/kubepods/" + spec.id;
  auto s = co_await sandboxes_->create(std::move(spec));
  if (!s) throw std::runtime_error("create: " + s.error().message);
  co_return *s;
}

ContainerSpec Node::shell(const std::string& id, const std::string& text) {
  ContainerSpec spec;
  spec.id = id;
  spec.name = id;
  spec.layers = {image};
  spec.argv = {"/bin/sh", "-c", text};
  spec.log.path = dir + "/logs/" + id + "/0.log";
  return spec;
}

std::string log_text(const std::string& path, const std::string& stream) {
  std::ifstream file(path);
  std::string out;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string time, name, tag;
    words >> time >> name >> tag;
    if (name != stream) continue;
    size_t at = line.find(" " + tag + " ");
    out += line.substr(at + tag.size() + 2);
    if (tag == "F") out += '\n';
  }
  return out;
}

Node::Outcome Node::read(const ContainerStatus& status) {
  return {log_text(status.log_path, "stdout"), log_text(status.log_path, "stderr"), status};
}

base::Task<Node::Outcome> Node::script(SandboxPtr sandbox, ContainerSpec spec) {
  std::string id = spec.id;
  auto started = co_await sandbox->start(std::move(spec));
  if (!started) throw std::runtime_error("start: " + started.error().message);
  auto ended = co_await sandbox->wait(id);
  if (!ended) throw std::runtime_error("wait: " + ended.error().message);
  co_return read(*ended);
}

}  // namespace runtime::test
