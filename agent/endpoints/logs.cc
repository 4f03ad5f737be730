// /containerLogs: a container's log, from a point on, followed while it runs.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "agent/endpoints/file_watch.h"
#include "agent/endpoints/log_options.h"
#include "agent/endpoints/node_api.h"
#include "agent/pods/log_file.h"
#include "agent/streams/scope.h"
#include "base/files.h"

namespace agent {

namespace http = base::http;

namespace {

std::optional<int64_t> number(std::string_view text) {
  int64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// The files of a log one after the other, and where in the first one to begin.
struct Position {
  std::vector<std::string> files;
  size_t file = 0;
  base::Fd fd;
  uint64_t offset = 0;
  std::string rest;  // an incomplete line
};

uint64_t size_of(int fd) {
  struct stat s;
  return ::fstat(fd, &s) == 0 ? static_cast<uint64_t>(s.st_size) : 0;
}

base::Fd open_log(const std::string& path) { return base::Fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)); }

uint64_t count_lines(int fd, uint64_t size) {
  uint64_t lines = 0;
  std::string buffer(64 * 1024, '\0');
  for (uint64_t at = 0; at < size;) {
    ssize_t n = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (n <= 0) break;
    lines += static_cast<uint64_t>(std::count(buffer.begin(), buffer.begin() + n, '\n'));
    at += static_cast<uint64_t>(n);
  }
  return lines;
}

Result<Position> find_start(const std::string& path, std::optional<int64_t> tail) {
  Position p;
  p.files = log_generations(path);
  if (!tail) {
    for (; p.file < p.files.size(); ++p.file) {
      p.fd = open_log(p.files[p.file]);
      if (p.fd) return p;
    }
    return p;
  }
  // From the newest back to the file in which the wanted line is.
  auto want = static_cast<uint64_t>(*tail);
  p.file = p.files.size();
  while (p.file > 0) {
    base::Fd fd = open_log(p.files[--p.file]);
    if (!fd) continue;
    uint64_t size = size_of(fd.get());
    TRY(p.offset, tail_offset(fd.get(), size, want));
    p.fd = std::move(fd);
    if (p.offset > 0 || want == 0 || p.file == 0) return p;
    uint64_t have = count_lines(p.fd.get(), size);
    if (have >= want) return p;
    want -= have;
  }
  return p;
}

}  // namespace

Result<LogOptions> parse_log_options(const http::Query& q, base::WallTime now) {
  LogOptions o;
  o.follow = q.flag("follow");
  o.previous = q.flag("previous");
  o.timestamps = q.flag("timestamps");
  auto integer = [&](const char* name, std::optional<int64_t>& to, int64_t least) -> Result<> {
    if (q.get(name).empty()) return {};
    to = number(q.get(name));
    if (!to || *to < least) return base::bad_request(fmt::format("{} must be a number of at least {}", name, least));
    return {};
  };
  CHECK_OK(integer("tailLines", o.tail, 0));
  CHECK_OK(integer("limitBytes", o.limit, 1));
  std::optional<int64_t> seconds;
  CHECK_OK(integer("sinceSeconds", seconds, 1));
  if (seconds) o.since = base::rfc3339_nano(now - std::chrono::seconds(*seconds));
  if (!q.get("sinceTime").empty()) {
    TRY(auto t, base::parse_rfc3339(q.get("sinceTime")));
    o.since = base::rfc3339_nano(t);
  }
  if (q.get("stream") == "Stdout") o.err = false;
  if (q.get("stream") == "Stderr") o.out = false;
  return o;
}

void format_log(std::string_view raw, const LogOptions& o, LogState& state, std::string& out) {
  for (size_t at = 0; at < raw.size();) {
    size_t end = raw.find('\n', at);
    if (end == std::string_view::npos) break;
    auto e = parse_log_line(raw.substr(at, end - at));
    at = end + 1;
    if (!e) continue;
    if (e->err ? !o.err : !o.out) continue;
    // Our own times are UTC with nine digits, so text order is time order.
    if (!o.since.empty() && e->time < o.since) continue;
    bool& inside = e->err ? state.inside_err : state.inside_out;
    if (o.timestamps && !inside) out.append(e->time).append(" ");
    out.append(e->text);
    if (!e->partial) out += '\n';
    inside = e->partial;
  }
}

Task<> NodeApi::logs(http::Request& request, http::Response& response, Path path) {
  auto options = parse_log_options(request.query, base::WallClock::now());
  if (!options) {
    co_await answer(response, 400, options.error().message);
    co_return;
  }
  auto pod = context_.pods.find(path[1], path[2]);
  if (!pod) {
    co_await answer(response, 404, fmt::format("pod \"{}\" not found on this node", path[2]));
    co_return;
  }
  const ContainerView* found = nullptr;
  for (const auto& c : pod->containers)
    if (c.name == path[3]) found = &c;
  if (!found) {
    co_await answer(response, 400, fmt::format("container {} is not valid for pod {}", path[3], path[2]));
    co_return;
  }
  const ContainerView container = *found;
  if (options->previous && container.previous_log_path.empty()) {
    co_await answer(response, 400, fmt::format("previous terminated container \"{}\" in pod \"{}\" not found", path[3], path[2]));
    co_return;
  }
  if (!options->previous && container.log_path.empty()) {
    co_await answer(response, 400,
                    fmt::format("container \"{}\" in pod \"{}\" is waiting to start: {}", path[3], path[2],
                                container.waiting_reason.empty() ? "ContainerCreating" : container.waiting_reason));
    co_return;
  }
  const std::string file = options->previous ? container.previous_log_path : container.log_path;
  auto start = find_start(file, options->tail);
  if (!start) {
    co_await answer(response, 500, start.error().message);
    co_return;
  }
  response.headers.set("Content-Type", "text/plain");
  auto begun = co_await response.begin();
  if (!begun) co_return;

  struct Reader {
    LogOptions options;
    Position at;
    LogState state;
    std::string file;
    std::optional<int64_t> left;
    std::string buffer = std::string(64 * 1024, '\0');
    // Bytes for the client that are there now; empty at the (present) end. `over` when the limit is reached.
    std::string next(bool& over) {
      std::string out;
      while (out.empty()) {
        ssize_t n = at.fd ? ::pread(at.fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(at.offset)) : 0;
        if (n > 0) {
          at.offset += static_cast<uint64_t>(n);
          at.rest.append(buffer.data(), static_cast<size_t>(n));
          size_t end = at.rest.rfind('\n');
          if (end == std::string::npos) {
            if (at.rest.size() > (1u << 20)) at.rest.clear();
            continue;
          }
          format_log(std::string_view(at.rest).substr(0, end + 1), options, state, out);
          at.rest.erase(0, end + 1);
          continue;
        }
        if (at.file + 1 < at.files.size()) {
          at.fd = open_log(at.files[++at.file]);
          at.offset = 0;
          at.rest.clear();
          continue;
        }
        // Rotated away under us: the path names another file now.
        struct stat ours, there;
        if (::stat(file.c_str(), &there) == 0 &&
            (!at.fd || (::fstat(at.fd.get(), &ours) == 0 && (ours.st_ino != there.st_ino || ours.st_dev != there.st_dev)))) {
          at.fd = open_log(file);
          at.offset = 0;
          at.rest.clear();
          if (at.fd) continue;
        }
        break;
      }
      if (left) {
        if (static_cast<int64_t>(out.size()) >= *left) {
          out.resize(static_cast<size_t>(*left));
          over = true;
        }
        *left -= static_cast<int64_t>(out.size());
      }
      return out;
    }
  };
  auto reader = std::make_shared<Reader>();
  reader->options = *options;
  reader->at = std::move(*start);
  reader->file = file;
  reader->left = options->limit;

  auto drain = [](std::shared_ptr<Reader> r, http::Response* to) -> Task<bool> {
    for (;;) {
      bool over = false;
      std::string bytes = r->next(over);
      if (bytes.empty()) co_return !over;
      auto w = co_await to->write(bytes);
      if (!w || over) co_return false;
    }
  };
  http::Response* to = &response;
  if (!options->follow || options->previous || !container.running || !pod->sandbox) {
    co_await drain(reader, to);
  } else {
    auto sandbox = pod->sandbox;
    std::string id = container.id;
    co_await with_children(context_.runtime, [=](base::Tasks& children) -> Task<> {
      struct Shared {
        base::Event event;
        bool exited = false, gone = false;
      };
      auto shared = std::make_shared<Shared>();
      auto strand = co_await base::this_executor();
      auto watch = FileWatch::open(file, strand);
      if (!watch) co_return;
      children.spawn("log watch", strand, [](std::shared_ptr<FileWatch> w, std::shared_ptr<Shared> s) -> Task<> {
        for (;;) {
          auto r = co_await w->changed();
          if (!r) co_return;
          s->event.notify();
        }
      }(std::shared_ptr<FileWatch>(std::move(*watch)), shared));
      children.spawn("container end", strand, [](runtime::SandboxPtr box, std::string container_id, std::shared_ptr<Shared> s) -> Task<> {
        auto r = co_await box->wait(container_id);
        (void)r;
        s->exited = true;
        s->event.notify();
      }(sandbox, id, shared));
      children.spawn("log client", strand, [](http::Response* response_to, std::shared_ptr<Shared> s) -> Task<> {
        co_await response_to->client_gone();
        s->gone = true;
        s->event.notify();
      }(to, shared));
      for (;;) {
        uint64_t seen = shared->event.version();
        bool exited = shared->exited;
        bool go_on = co_await drain(reader, to);
        // Once more after the end was known: what was written before it is all there.
        if (!go_on || shared->gone || exited) co_return;
        co_await shared->event.wait(seen);
      }
    });
  }
  auto ended = co_await response.end();
  (void)ended;
}

}  // namespace agent
