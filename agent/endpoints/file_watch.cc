#include "agent/endpoints/file_watch.h"

#include <sys/inotify.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/files.h"

namespace agent {

namespace asio = boost::asio;

namespace {

class Inotify final : public FileWatch {
 public:
  Inotify(base::Fd fd, const base::Executor& strand) : descriptor_(strand, fd.release()) {}

  base::Task<base::Result<>> changed() override {
    alignas(inotify_event) char buffer[4096];
    boost::system::error_code ec;
    co_await descriptor_.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return base::internal("inotify: " + ec.message());
    co_return base::Result<>{};
  }

 private:
  asio::posix::stream_descriptor descriptor_;
};

}  // namespace

base::Result<std::unique_ptr<FileWatch>> FileWatch::open(const std::string& file, base::Executor strand) {
  base::Fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) return base::errno_error("inotify");
  std::string directory = file.substr(0, file.rfind('/'));
  // The directory's watch reports writes to its files, too.
  if (::inotify_add_watch(fd.get(), directory.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE) < 0)
    return base::errno_error("watch " + directory);
  return std::make_unique<Inotify>(std::move(fd), strand);
}

}  // namespace agent
