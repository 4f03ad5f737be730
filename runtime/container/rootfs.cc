#include "runtime/container/rootfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "runtime/container/mounts.h"
#include "runtime/container/paths.h"
#include "runtime/container/syscalls.h"

namespace runtime {

using base::Fd;
using base::Result;

namespace {

constexpr const char* kMasked[] = {"/proc/acpi",        "/proc/asound",     "/proc/interrupts",  "/proc/kcore",       "/proc/keys",
                                   "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi",
                                   "/sys/firmware",     "/sys/devices/virtual/powercap"};
constexpr const char* kReadOnly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};

bool is_directory(int fd) {
  struct stat s;
  return ::fstat(fd, &s) == 0 && S_ISDIR(s.st_mode);
}

bool on_procfs(int fd) {
  struct statfs s;
  return ::fstatfs(fd, &s) == 0 && s.f_type == PROC_SUPER_MAGIC;
}

struct Source {
  const Mount* mount;
  Fd tree;  // detached; none for tmpfs
  bool directory = true;
};

class Builder {
 public:
  explicit Builder(const RootfsPlan& plan) : plan_(plan), spec_(*plan.spec) {}

  Result<> build(Fd& terminal, Fd& peer) {
    CHECK_OK(take_sources(true));
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
      return base::errno_error("leave the propagation of the host's mounts");
    CHECK_OK(take_sources(false));
    CHECK_OK(take_shm());
    CHECK_OK(enter_root());
    CHECK_OK(proc_and_sys());
    CHECK_OK(dev(terminal, peer));
    for (const Source& s : sources_) CHECK_OK(place(s));
    if (!spec_.privileged && !spec_.unmasked_proc) CHECK_OK(mask());
    if (spec_.read_only_root) {
      // The mount of the root alone: what is mounted on it keeps its own flags.
      if (sys::mount_setattr(root_.get(), false, MOUNT_ATTR_RDONLY, 0, 0) != 0 &&
          (errno != ENOSYS || ::mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr) != 0)) {
        return base::errno_error("make the root file system read-only");
      }
    }
    return {};
  }

 private:
  // The spec's mounts by depth of their targets, so that one never hides another that lies below it.
  Result<> take_sources(bool shared) {
    for (const Mount& m : spec_.mounts) {
      if ((m.propagation == Propagation::bidirectional) != shared) continue;
      Source s{&m, {}, true};
      if (!m.target.starts_with('/')) return base::fail(400, "InvalidContainerSpec", "mount path \"" + m.target + "\" is not absolute");
      if (m.kind == Mount::Kind::bind) CHECK_OK(take_bind(s));
      auto depth = [](const Source& x) { return std::ranges::count(x.mount->target, '/') - (x.mount->target.ends_with('/') ? 1 : 0); };
      auto at = std::ranges::find_if(sources_, [&](const Source& other) { return depth(other) > depth(s); });
      sources_.insert(at, std::move(s));
    }
    return {};
  }

  Result<> take_bind(Source& s) {
    const Mount& m = *s.mount;
    Fd from(::open(m.source.c_str(), O_PATH | O_CLOEXEC));
    if (!from) return base::errno_error("mount " + m.source + " at " + m.target);
    if (!m.sub_path.empty()) {
      Fd below = open_below(from.get(), m.sub_path, O_PATH, Resolve::beneath);
      if (!below && errno == ENOENT && m.create_sub_path) {
        auto made = make_directory_below(from.get(), m.sub_path, 0755, Resolve::beneath);
        if (!made) return base::internal("subPath \"" + m.sub_path + "\" for " + m.target + ": " + made.error().message);
        below = std::move(*made);
      }
      if (!below && errno == EXDEV) return base::internal("subPath \"" + m.sub_path + "\" for " + m.target + " leads out of the volume");
      if (!below) return base::errno_error("subPath \"" + m.sub_path + "\" for " + m.target);
      from = std::move(below);
    }
    s.directory = is_directory(from.get());
    auto tree = clone_mount(from.get(), m.recursive);
    if (!tree) return base::internal("mount " + m.source + " at " + m.target + ": " + tree.error().message);
    s.tree = std::move(*tree);
    return {};
  }

  Result<> take_shm() {
    Fd from(::open(plan_.shm.empty() ? "/dev/shm" : plan_.shm.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!from) return base::errno_error("open the shared memory of the pod");
    TRY(shm_, clone_mount(from.get(), false));
    return {};
  }

  Result<> enter_root() {
    CHECK_OK(mount_overlay(spec_.layers, plan_.upper, plan_.work, plan_.mount_point));
    root_ = Fd(::open(plan_.mount_point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_ || ::fchdir(root_.get()) != 0) return base::errno_error("enter the root file system");
    // Both roots on one directory, then the old one (now on top) goes, with all the host's mounts.
    if (sys::pivot_root(".", ".") != 0) return base::errno_error("pivot_root");
    if (::umount2(".", MNT_DETACH) != 0) return base::errno_error("let go of the host's root");
    if (::chdir("/") != 0) return base::errno_error("chdir /");
    root_ = Fd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_) return base::errno_error("open /");
    return {};
  }

  // A directory of the image's own, no link: for what must be where its name says.
  Result<Fd> real_directory(const char* path) {
    Fd fd = sys::openat2(root_.get(), path + 1, O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (fd) return fd;
    if (errno == ENOENT) return make_directory_below(root_.get(), path, 0755);
    return base::errno_error(std::string(path) + " of the image is not a directory");
  }

  Result<> put(const Fd& mount, const char* where, MountFlags flags = {}) {
    TRY(Fd target, real_directory(where));
    return attach(mount, target.get(), flags, Propagation::none, where);
  }

  Result<> proc_and_sys() {
    TRY(Fd proc, new_mount("proc", {}, {.no_suid = true, .no_dev = true, .no_exec = true}));
    CHECK_OK(put(proc, "/proc"));
    MountFlags flags{.read_only = !spec_.privileged, .no_suid = true, .no_dev = true, .no_exec = true};
    TRY(Fd sysfs, new_mount("sysfs", {}, flags));
    CHECK_OK(put(sysfs, "/sys"));
    return cgroup_view(flags);
  }

  // What programs read to learn their limits: the container's own groups, as the cgroup namespace shows them.
  Result<> cgroup_view(MountFlags flags) {
    Fd where = sys::openat2(root_.get(), "sys/fs/cgroup", O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (!where) return {};  // a kernel without cgroups has no such directory
    if (plan_.cgroups->pure_v2()) {
      TRY(Fd mount, new_mount("cgroup2", {}, flags));
      return attach(mount, where.get(), {}, Propagation::none, "/sys/fs/cgroup");
    }
    TRY(Fd tmpfs, new_mount("tmpfs", {{"mode", "755"}, {"size", "64k"}}, {.no_suid = true, .no_dev = true, .no_exec = true}));
    std::vector<std::pair<std::string, Fd>> mounts;
    for (const auto& h : plan_.cgroups->hierarchies()) {
      if (h.v2) continue;
      std::string name;
      std::vector<std::pair<std::string, std::string>> options;
      for (const std::string& c : h.controllers) {
        name += (name.empty() ? "" : ",") + c;
        options.emplace_back(c, "");
      }
      // Hierarchies with further controllers than those used cannot be named by a part of them: such a view is left out.
      auto mount = new_mount("cgroup", options, flags);
      if (!mount) continue;
      if (::mkdirat(tmpfs.get(), name.c_str(), 0755) != 0) return base::errno_error("make the cgroup view");
      if (h.controllers.size() > 1) {
        for (const std::string& c : h.controllers) (void)!::symlinkat(name.c_str(), tmpfs.get(), c.c_str());
      }
      mounts.emplace_back(name, std::move(*mount));
    }
    CHECK_OK(attach(tmpfs, where.get(), {}, Propagation::none, "/sys/fs/cgroup"));
    for (auto& [name, mount] : mounts) {
      Fd target(::openat(tmpfs.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!target) return base::errno_error("make the cgroup view");
      CHECK_OK(attach(mount, target.get(), {}, Propagation::none, "/sys/fs/cgroup/" + name));
    }
    if (flags.read_only) sys::mount_setattr(tmpfs.get(), false, MOUNT_ATTR_RDONLY, 0, 0);
    return {};
  }

  Result<> dev(Fd& terminal, Fd& peer) {
    TRY(Fd dev, new_mount("tmpfs", {{"mode", "755"}, {"size", "65536k"}}, {.no_suid = true}));
    for (const DeviceNode& n : plan_.devices) CHECK_OK(node(dev.get(), n));
    null_ = Fd(::openat(dev.get(), "null", O_PATH | O_NOFOLLOW | O_CLOEXEC));
    for (const char* name : {"pts", "shm", "mqueue"}) {
      if (::mkdirat(dev.get(), name, 0755) != 0) return base::errno_error(std::string("make /dev/") + name);
    }
    constexpr std::pair<const char*, const char*> links[] = {{"/proc/self/fd", "fd"},
                                                             {"/proc/self/fd/0", "stdin"},
                                                             {"/proc/self/fd/1", "stdout"},
                                                             {"/proc/self/fd/2", "stderr"},
                                                             {"pts/ptmx", "ptmx"}};
    for (const auto& [to, name] : links) (void)!::symlinkat(to, dev.get(), name);
    if (spec_.tty) {
      Fd console(::openat(dev.get(), "console", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0620));
      if (!console) return base::errno_error("make /dev/console");
    }
    CHECK_OK(put(dev, "/dev"));
    auto below = [&](const char* name) { return Fd(::openat(dev.get(), name, O_PATH | O_NOFOLLOW | O_CLOEXEC)); };

    TRY(Fd pts, new_mount("devpts", {{"newinstance", ""}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}},
                          {.no_suid = true, .no_exec = true}));
    if (spec_.tty) CHECK_OK(open_terminal(pts.get(), terminal, peer));
    CHECK_OK(attach(pts, below("pts").get(), {}, Propagation::none, "/dev/pts"));
    CHECK_OK(attach(shm_, below("shm").get(), {.no_suid = true, .no_dev = true, .no_exec = true}, Propagation::none, "/dev/shm"));
    if (auto mqueue = new_mount("mqueue", {}, {.no_suid = true, .no_dev = true, .no_exec = true})) {
      CHECK_OK(attach(*mqueue, below("mqueue").get(), {}, Propagation::none, "/dev/mqueue"));
    }
    if (spec_.tty) {
      Fd own(::openat(pts.get(), "0", O_PATH | O_NOFOLLOW | O_CLOEXEC));
      if (!own) return base::errno_error("open the terminal");
      TRY(Fd tree, clone_mount(own.get(), false));
      CHECK_OK(attach(tree, below("console").get(), {}, Propagation::none, "/dev/console"));
    }
    return {};
  }

  Result<> node(int dev, const DeviceNode& n) {
    // Nodes outside /dev are made in the image's tree below.
    std::string name = n.path.starts_with("/dev/") ? n.path.substr(5) : n.path;
    int root = n.path.starts_with("/dev/") ? dev : root_.get();
    size_t slash = name.rfind('/');
    Fd parent;
    if (slash == std::string::npos) {
      parent = Fd(::openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    } else {
      TRY(parent, make_directory_below(root, name.substr(0, slash), 0755));
      name = name.substr(slash + 1);
    }
    if (::mknodat(parent.get(), name.c_str(), n.mode, n.device) != 0 && errno != EEXIST)
      return base::errno_error("make the device " + n.path);
    if (n.uid != 0 || n.gid != 0) (void)!::fchownat(parent.get(), name.c_str(), n.uid, n.gid, AT_SYMLINK_NOFOLLOW);
    return {};
  }

  Result<> place(const Source& s) {
    const Mount& m = *s.mount;
    std::string what = m.kind == Mount::Kind::tmpfs ? "tmpfs at " + m.target : m.source + " at " + m.target;
    auto target = s.directory ? make_directory_below(root_.get(), m.target, 0755) : make_file_below(root_.get(), m.target);
    if (!target) return base::internal("mount " + what + ": " + target.error().message);
    if (on_procfs(target->get())) return base::internal("mount " + what + ": the target is inside /proc");
    if (s.directory != is_directory(target->get())) {
      return base::internal(
          "mount " + what + ": " +
          (s.directory ? "not a directory: the source is one, the target is not" : "the target is a directory, the source is not"));
    }
    MountFlags flags{m.read_only, m.no_suid, m.no_dev, m.no_exec, m.read_only && m.recursive_read_only};
    if (m.kind == Mount::Kind::bind) return attach(s.tree, target->get(), flags, m.propagation, what);
    char mode[8];
    std::snprintf(mode, sizeof mode, "%o", m.mode & 07777);
    std::vector<std::pair<std::string, std::string>> options = {{"mode", mode}};
    if (m.size_bytes > 0) options.emplace_back("size", std::to_string(m.size_bytes));
    TRY(Fd tmpfs, new_mount("tmpfs", options, flags));
    return attach(tmpfs, target->get(), {}, m.propagation, what);
  }

  Result<> mask() {
    struct stat s;
    if (!null_ || ::fstat(null_.get(), &s) != 0 || !S_ISCHR(s.st_mode) || s.st_rdev != makedev(1, 3))
      return base::internal("/dev/null is not the null device");
    std::optional<Fd> empty;  // attached once, then cloned
    for (const char* path : kReadOnly) {
      Fd target = sys::openat2(root_.get(), path + 1, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
      if (!target) continue;  // this kernel does not have it
      TRY(Fd tree, clone_mount(target.get(), true));
      CHECK_OK(attach(tree, target.get(), {.read_only = true, .no_suid = true, .no_dev = true, .no_exec = true}, Propagation::none, path));
    }
    for (const char* path : kMasked) {
      Fd target = sys::openat2(root_.get(), path + 1, O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
      if (!target) continue;
      if (!is_directory(target.get())) {
        TRY(Fd tree, clone_mount(null_.get(), false));
        CHECK_OK(attach(tree, target.get(), {.read_only = true}, Propagation::none, path));
      } else if (!empty) {
        TRY(empty, new_mount("tmpfs", {{"mode", "555"}, {"nr_blocks", "1"}, {"nr_inodes", "1"}},
                             {.read_only = true, .no_suid = true, .no_dev = true, .no_exec = true}));
        CHECK_OK(attach(*empty, target.get(), {}, Propagation::none, path));
      } else {
        TRY(Fd tree, clone_mount(empty->get(), false));
        CHECK_OK(attach(tree, target.get(), {}, Propagation::none, path));
      }
    }
    return {};
  }

  const RootfsPlan& plan_;
  const ContainerSpec& spec_;
  std::vector<Source> sources_;
  Fd root_, shm_, null_;
};

}  // namespace

Result<> open_terminal(int devpts, Fd& master, Fd& peer) {
  struct statfs s;
  if (::fstatfs(devpts, &s) != 0 || s.f_type != DEVPTS_SUPER_MAGIC) return base::internal("/dev/pts is not a devpts");
  master = Fd(::openat(devpts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC));
  if (!master) return base::errno_error("make a terminal");
  int unlock = 0;
  if (::ioctl(master.get(), TIOCSPTLCK, &unlock) != 0) return base::errno_error("unlock the terminal");
  peer = Fd(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!peer) return base::errno_error("open the terminal");
  return {};
}

Result<> build_rootfs(const RootfsPlan& plan, Fd& terminal, Fd& peer) {
  mode_t mask = ::umask(0);
  auto result = Builder(plan).build(terminal, peer);
  ::umask(mask);
  return result;
}

}  // namespace runtime
