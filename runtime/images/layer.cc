#include "runtime/images/layer.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "base/bytes.h"
#include "runtime/images/digest.h"

namespace runtime {

using base::Fd;
using base::Result;
using base::Task;

namespace {

constexpr size_t kChunk = 256 * 1024;

// The unpacker; killed and reaped when the owner goes away.
class Unpacker {
 public:
  Unpacker() = default;
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;
  ~Unpacker() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  Result<> start(const UnpackJob& job) {
    int in[2], out[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0) return base::errno_error("socketpair");
    in_ = Fd(in[0]);
    Fd child_in(in[1]);
    if (::pipe2(out, O_CLOEXEC) != 0) return base::errno_error("pipe");
    out_ = Fd(out[0]);
    Fd child_out(out[1]);
    int bytes = 1 << 20;
    ::setsockopt(in_.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    Fd directory(::open(job.directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory) return base::errno_error("open " + job.directory);
    // dup2 onto the same number would leave close-on-exec set.
    if (directory.get() == 3) directory = Fd(::fcntl(directory.release(), F_DUPFD_CLOEXEC, 10));

    std::string max_bytes = std::to_string(job.limits.bytes), max_entries = std::to_string(job.limits.entries);
    std::string name = "appliance", command = "image-unpacker", mode = job.plain ? "plain" : "layer";
    char* arguments[] = {name.data(), command.data(), max_bytes.data(), max_entries.data(), mode.data(), nullptr};
    char* environment[] = {nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, child_in.get(), 0);
    posix_spawn_file_actions_adddup2(&actions, child_out.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, directory.get(), 3);
    posix_spawn_file_actions_addclosefrom_np(&actions, 4);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int rc = ::posix_spawn(&pid_, job.self_exe.c_str(), &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc != 0) {
      pid_ = -1;
      return base::errno_error("start the unpacker", rc);
    }
    return {};
  }

  // What fits without waiting. False when the unpacker does not listen any more.
  bool send_now(std::string_view& data) {
    while (!data.empty()) {
      ssize_t n = ::send(in_.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // All of it, blocking.
  bool send_all(std::string_view data) {
    while (!data.empty()) {
      ssize_t n = ::send(in_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  void end_input() { ::shutdown(in_.get(), SHUT_WR); }

  // Blocks until the unpacker has ended.
  Result<std::string> report() {
    std::string text;
    char chunk[16384];
    for (;;) {
      ssize_t n = ::read(out_.get(), chunk, sizeof chunk);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      text.append(chunk, static_cast<size_t>(n));
      if (text.size() > 256u << 20) return base::internal("the unpacker's report is too long");
    }
    int status = wait();
    if (text.empty()) {
      return base::internal(WIFSIGNALED(status) ? fmt::format("the unpacker was ended by signal {}", WTERMSIG(status))
                                                : fmt::format("the unpacker ended with code {}", WEXITSTATUS(status)));
    }
    return text;
  }

 private:
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

  pid_t pid_ = -1;
  Fd in_, out_;
};

struct Report {
  UnpackedLayer layer;
  std::vector<std::string> opaque;
};

Result<Report> parse_report(std::string_view text) {
  Report report;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    std::vector<std::string_view> words;
    for (std::string_view rest = line;;) {
      size_t space = rest.find(' ');
      words.push_back(rest.substr(0, space));
      if (space == std::string_view::npos) break;
      rest.remove_prefix(space + 1);
    }
    auto number = [&](size_t i) {
      uint64_t v = 0;
      std::from_chars(words[i].data(), words[i].data() + words[i].size(), v);
      return v;
    };
    if (words[0] == "opaque" && words.size() == 2) {
      TRY(std::string name, base::hex_decode(words[1]));
      report.opaque.push_back(std::move(name));
    } else if (words[0] == "done" && words.size() == 4) {
      report.layer.bytes = number(1);
      report.layer.entries = number(2);
      report.layer.diff_id = words[3];
      return report;
    } else if (words[0] == "error" && words.size() == 4) {
      auto message = base::hex_decode(words[3]);
      return base::fail(static_cast<int>(number(1)), words[2], message ? *message : "unknown error");
    } else {
      break;
    }
  }
  return base::internal("the unpacker's report is not understood");
}

base::Failure mismatch(std::string_view what, const std::string& expected, const std::string& found) {
  return base::fail(422, "ImageInvalid", fmt::format("{} is {} instead of {}", what, found, expected));
}

}  // namespace

Task<Result<UnpackedLayer>> unpack_layer(UnpackJob job, BlobSource& source, std::function<bool(size_t)> progress) {
  Unpacker unpacker;
  CO_CHECK_OK(unpacker.start(job));
  Sha256 hash;
  std::vector<char> buffer(kChunk);
  uint64_t total = 0;
  bool listening = true;
  for (;;) {
    auto n = co_await source.read(buffer);
    if (!n) co_return std::unexpected(n.error());
    if (*n == 0) break;
    std::string_view chunk(buffer.data(), *n);
    total += chunk.size();
    if (job.size != 0 && total > job.size) co_return mismatch("the size of the layer", std::to_string(job.size), "more");
    hash.update(chunk);
    if (progress && !progress(chunk.size())) co_return base::unavailable("the pull was given up");
    listening = unpacker.send_now(chunk);
    if (listening && !chunk.empty()) {
      listening = co_await base::offload([&unpacker, chunk] { return unpacker.send_all(chunk); });
    }
    if (!listening) break;  // it has found something wrong and says what
  }
  unpacker.end_input();
  auto text = co_await base::offload([&unpacker] { return unpacker.report(); });
  if (!text) co_return std::unexpected(text.error());
  UnpackedLayer layer;
  std::vector<std::string> opaque;
  if (listening) {
    layer.digest = hash.digest();
    // Before the unpacker's opinion: of bytes that are not the ones asked for nothing else matters.
    if (job.size != 0 && total != job.size) co_return mismatch("the size of the layer", std::to_string(job.size), std::to_string(total));
    if (!job.digest.empty() && layer.digest != job.digest) co_return mismatch("the digest of the layer", job.digest, layer.digest);
  }
  auto report = parse_report(*text);
  if (!report) co_return std::unexpected(report.error());
  if (!listening) co_return base::internal("the unpacker ended too early");
  if (!job.diff_id.empty() && report->layer.diff_id != job.diff_id) {
    co_return mismatch("the digest of the uncompressed layer", job.diff_id, report->layer.diff_id);
  }
  report->layer.digest = layer.digest;
  if (!report->opaque.empty()) {
    Fd root(::open(job.directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!root) co_return base::errno_error("open " + job.directory);
    CO_CHECK_OK(mark_opaque(root.get(), report->opaque));
  }
  co_return report->layer;
}

}  // namespace runtime
