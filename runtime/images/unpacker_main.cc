// The unpacker process. Standard input: the compressed layer. Descriptor 3: the directory to fill. Standard output, at the end, one line each:
//   opaque <hex of the directory>     any number
//   done <bytes> <entries> <diff id>  or  error <code> <reason> <hex of the message>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <string>

#include <fmt/format.h>

#include "base/bytes.h"
#include "runtime/images/confine.h"
#include "runtime/images/digest.h"
#include "runtime/images/images.h"
#include "runtime/images/unpack.h"

namespace runtime {

namespace {

// Passes bytes on and hashes them; stops past a limit, so that padding cannot go on for ever.
class Hashing final : public ByteSource {
 public:
  Hashing(ByteSource& in, Sha256& hash) : in_(in), hash_(hash) {}
  Result<size_t> read(std::span<char> into) override {
    TRY(size_t n, in_.read(into));
    hash_.update(std::string_view(into.data(), n));
    return n;
  }

 private:
  ByteSource& in_;
  Sha256& hash_;
};

struct Report {
  UnpackResult result;
  std::string diff_id;
};

Result<Report> work(const UnpackLimits& limits, bool plain) {
  Sha256 hash;  // before the root changes: the library may want its configuration
  CHECK_OK(confine_to(3));
  int root = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return base::errno_error("open the directory to unpack into");
  auto compressed = read_descriptor(0);
  TRY(auto tar, decompress(std::move(compressed)));
  Hashing hashing(*tar, hash);
  Report report;
  TRY(report.result, unpack(hashing, root, limits, plain));
  // What follows the compressed data is still read, so that the sender gets rid of it.
  char rest[4096];
  while (::read(0, rest, sizeof rest) > 0) {
  }
  report.diff_id = hash.digest();
  return report;
}

void say(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    ssize_t n = ::write(1, text.data() + at, text.size() - at);
    if (n <= 0) ::_exit(1);
    at += static_cast<size_t>(n);
  }
}

uint64_t number(std::string_view text) {
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

}  // namespace

int unpacker_main(int argc, char** argv) {
  if (argc != 5) return 2;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::signal(SIGPIPE, SIG_DFL);
  ::setlocale(LC_CTYPE, "C.UTF-8");  // names are UTF-8 or raw bytes, never converted
  ::umask(0);
  UnpackLimits limits;
  limits.bytes = number(argv[2]);
  limits.entries = number(argv[3]);
  auto report = work(limits, std::string_view(argv[4]) == "plain");
  std::string text;
  if (report) {
    for (const std::string& name : report->result.opaque) text += fmt::format("opaque {}\n", base::hex_encode(name));
    text += fmt::format("done {} {} {}\n", report->result.bytes, report->result.entries, report->diff_id);
  } else {
    const base::Error& e = report.error();
    text = fmt::format("error {} {} {}\n", e.code, e.reason, base::hex_encode(e.message));
  }
  say(text);
  ::_exit(0);
}

}  // namespace runtime
