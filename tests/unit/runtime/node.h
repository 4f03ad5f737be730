// A runtime of its own for a test: temporary directories, a cgroup root of its own, a root file system made of busybox. All of it is
// removed at the end, and what is left over is a failure.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/exec/exec.h"
#include "runtime/sandbox/sandbox.h"

namespace runtime::test {

class Node {
 public:
  Node();
  ~Node();

  // Runs a coroutine of the test to its end.
  void run(std::function<base::Task<>()> body);
  Sandboxes& sandboxes() { return *sandboxes_; }
  // Lets go of all supervisors, as an agent that ends does, and comes back as a new one.
  base::Task<std::vector<SandboxPtr>> restart();

  base::Task<SandboxPtr> sandbox(SandboxSpec spec = {});
  ContainerSpec shell(const std::string& id, const std::string& script);
  // Starts `script` in a container of its own and returns its output (stdout of the log) and exit code.
  struct Outcome {
    std::string out, err;
    ContainerStatus status;
  };
  base::Task<Outcome> script(SandboxPtr sandbox, ContainerSpec spec);
  Outcome read(const ContainerStatus& status);

  std::string dir, image, cgroup_root;
  std::vector<SandboxEvent> events() const;

 private:
  SandboxesOptions options();

  std::unique_ptr<base::Runtime> runtime_;
  std::unique_ptr<Sandboxes> sandboxes_;
  std::shared_ptr<std::pair<std::mutex, std::vector<SandboxEvent>>> events_;
  int count_ = 0;
};

// The text of a CRI log's lines of one stream.
std::string log_text(const std::string& path, const std::string& stream);

}  // namespace runtime::test
