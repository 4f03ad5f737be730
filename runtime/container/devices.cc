#include "runtime/container/devices.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstring>

#include "runtime/container/kernel_file.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

struct Standard {
  const char* path;
  unsigned major, minor;
};
constexpr Standard kStandard[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                                  {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};

bool is_device(mode_t mode) { return S_ISCHR(mode) || S_ISBLK(mode); }

// All nodes of the host below /dev, without those that belong to one namespace.
void host_devices(const std::string& dir, std::vector<DeviceNode>& out, int depth) {
  DIR* d = ::opendir(dir.c_str());
  if (d == nullptr) return;
  while (dirent* e = ::readdir(d)) {
    std::string name = e->d_name;
    if (name == "." || name == "..") continue;
    std::string path = dir + "/" + name;
    struct stat s;
    if (::lstat(path.c_str(), &s) != 0) continue;
    if (S_ISDIR(s.st_mode)) {
      bool own = depth == 0 && (name == "pts" || name == "shm" || name == "mqueue" || name == "hugepages" || name == "fd");
      if (!own && depth < 8) host_devices(path, out, depth + 1);
    } else if (is_device(s.st_mode) && path != "/dev/console" && path != "/dev/ptmx") {
      out.push_back({path, s.st_mode, s.st_rdev, s.st_uid, s.st_gid});
    }
  }
  ::closedir(d);
}

int bpf(int command, bpf_attr* attr) { return static_cast<int>(::syscall(SYS_bpf, command, attr, sizeof *attr)); }

bpf_insn insn(int code, int dst, int src, int off, int imm) {
  bpf_insn i{};
  i.code = static_cast<uint8_t>(code);
  i.dst_reg = static_cast<uint8_t>(dst) & 0xf;
  i.src_reg = static_cast<uint8_t>(src) & 0xf;
  i.off = static_cast<int16_t>(off);
  i.imm = imm;
  return i;
}

// Returns 1 for what a rule covers, 0 otherwise. r2 type, r3 access, r4 major, r5 minor.
std::vector<bpf_insn> device_program(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> code = {insn(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0),      insn(BPF_ALU64 | BPF_MOV | BPF_X, 3, 2, 0, 0),
                                insn(BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff), insn(BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16),
                                insn(BPF_LDX | BPF_MEM | BPF_W, 4, 1, 4, 0),      insn(BPF_LDX | BPF_MEM | BPF_W, 5, 1, 8, 0)};
  for (const DeviceRule& rule : rules) {
    std::vector<bpf_insn> tests;
    int access = 0;
    if (rule.access.find('m') != std::string::npos) access |= BPF_DEVCG_ACC_MKNOD;
    if (rule.access.find('r') != std::string::npos) access |= BPF_DEVCG_ACC_READ;
    if (rule.access.find('w') != std::string::npos) access |= BPF_DEVCG_ACC_WRITE;
    if (rule.type != 'a')
      tests.push_back(insn(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 0, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR));
    if (access != 7) {
      tests.push_back(insn(BPF_ALU | BPF_MOV | BPF_X, 1, 3, 0, 0));
      tests.push_back(insn(BPF_ALU | BPF_AND | BPF_K, 1, 0, 0, ~access & 7));
      tests.push_back(insn(BPF_JMP | BPF_JNE | BPF_K, 1, 0, 0, 0));
    }
    if (rule.major >= 0) tests.push_back(insn(BPF_JMP | BPF_JNE | BPF_K, 4, 0, 0, static_cast<int>(rule.major)));
    if (rule.minor >= 0) tests.push_back(insn(BPF_JMP | BPF_JNE | BPF_K, 5, 0, 0, static_cast<int>(rule.minor)));
    tests.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1));
    tests.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
    for (size_t i = 0; i < tests.size(); ++i) {
      if (tests[i].code == (BPF_JMP | BPF_JNE | BPF_K)) tests[i].off = static_cast<int16_t>(tests.size() - i - 1);
    }
    code.insert(code.end(), tests.begin(), tests.end());
    if (rule.type == 'a' && access == 7 && rule.major < 0 && rule.minor < 0) return code;  // what follows could not be reached
  }
  code.push_back(insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0));
  code.push_back(insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return code;
}

Result<> attach_program(const std::string& directory, const std::vector<DeviceRule>& rules) {
  auto code = device_program(rules);
  static const char license[] = "Apache-2.0";
  bpf_attr load{};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(code.data());
  load.insn_cnt = static_cast<uint32_t>(code.size());
  load.license = reinterpret_cast<uint64_t>(license);
  Fd program(bpf(BPF_PROG_LOAD, &load));
  if (!program) return base::errno_error("load the device filter");
  Fd group(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!group) return base::errno_error("open " + directory);
  bpf_attr attach{};
  attach.target_fd = static_cast<uint32_t>(group.get());
  attach.attach_bpf_fd = static_cast<uint32_t>(program.get());
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, &attach) != 0) return base::errno_error("attach the device filter to " + directory);
  return {};
}

}  // namespace

Result<std::vector<DeviceNode>> device_nodes(const ContainerSpec& spec) {
  std::vector<DeviceNode> nodes;
  for (const auto& d : kStandard) nodes.push_back({d.path, S_IFCHR | 0666, makedev(d.major, d.minor), 0, 0});
  if (spec.privileged) host_devices("/dev", nodes, 0);
  for (const Device& d : spec.devices) {
    struct stat s;
    if (::stat(d.host_path.c_str(), &s) != 0) return base::errno_error("device " + d.host_path);
    if (!is_device(s.st_mode)) return base::fail(400, "InvalidContainerSpec", d.host_path + " is not a device");
    nodes.push_back({d.container_path.empty() ? d.host_path : d.container_path, s.st_mode, s.st_rdev, s.st_uid, s.st_gid});
  }
  return nodes;
}

std::vector<DeviceRule> device_rules(const ContainerSpec& spec, const std::vector<DeviceNode>& nodes) {
  if (spec.privileged) return {{'a', -1, -1, "rwm"}};
  // Any node may be made, few may be opened: what Docker does.
  std::vector<DeviceRule> rules = {{'c', -1, -1, "m"}, {'b', -1, -1, "m"}};
  for (const auto& d : kStandard) rules.push_back({'c', d.major, d.minor, "rwm"});
  rules.push_back({'c', 5, 1, "rwm"});     // /dev/console
  rules.push_back({'c', 5, 2, "rwm"});     // /dev/ptmx
  rules.push_back({'c', 136, -1, "rwm"});  // /dev/pts/*
  for (const Device& d : spec.devices) {
    const std::string& path = d.container_path.empty() ? d.host_path : d.container_path;
    for (const DeviceNode& n : nodes) {
      if (n.path == path) rules.push_back({S_ISBLK(n.mode) ? 'b' : 'c', gnu_dev_major(n.device), gnu_dev_minor(n.device), d.permissions});
    }
  }
  return rules;
}

Result<> restrict_devices(const Cgroups& cgroups, std::string_view path, const std::vector<DeviceRule>& rules) {
  const Cgroups::Hierarchy* h = cgroups.with("devices");
  if (h == nullptr) {
    if (rules.size() == 1 && rules[0].type == 'a') return {};
    for (const auto& each : cgroups.hierarchies()) {
      if (each.v2) return attach_program(cgroups.directory(each, path), rules);
    }
    return base::internal("the kernel has neither the devices controller nor cgroup v2: devices cannot be restricted");
  }
  std::string dir = cgroups.directory(*h, path);
  if (rules.size() == 1 && rules[0].type == 'a') return {};  // new groups inherit "all"
  CHECK_OK(write_kernel(dir + "/devices.deny", "a"));
  auto number = [](int64_t n) { return n < 0 ? std::string("*") : std::to_string(n); };
  for (const DeviceRule& r : rules) {
    CHECK_OK(write_kernel(dir + "/devices.allow", std::string(1, r.type) + " " + number(r.major) + ":" + number(r.minor) + " " + r.access));
  }
  return {};
}

}  // namespace runtime
