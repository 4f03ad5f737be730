// Layers: tar streams, plain or compressed, into a directory of their own that is emptied after each.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "fuzz.h"
#include "runtime/images/unpack.h"

namespace {

class Bytes final : public runtime::ByteSource {
 public:
  explicit Bytes(std::string_view text) : left_(text) {}
  base::Result<size_t> read(std::span<char> into) override {
    size_t n = std::min(into.size(), left_.size());
    std::memcpy(into.data(), left_.data(), n);
    left_.remove_prefix(n);
    return n;
  }

 private:
  std::string_view left_;
};

// A directory, a file in it, a link, a whiteout.
const std::string& archive() {
  static const std::string text = [] {
    std::string out;
    auto add = [&](std::string name, char type, std::string link, std::string body) {
      std::string head(512, '\0');
      head.replace(0, name.size(), name);
      head.replace(100, 7, "0000755");
      head.replace(108, 7, "0000000");
      head.replace(116, 7, "0000000");
      char size[12];
      std::snprintf(size, sizeof size, "%011zo", body.size());
      head.replace(124, 11, size);
      head.replace(136, 11, "00000000000");
      head[156] = type;
      head.replace(157, link.size(), link);
      head.replace(257, 8, std::string("ustar\00000", 8));
      head.replace(148, 8, "        ");
      unsigned sum = 0;
      for (char c : head) sum += static_cast<unsigned char>(c);
      char text_sum[8];
      std::snprintf(text_sum, sizeof text_sum, "%06o", sum);
      head.replace(148, 7, std::string(text_sum, 7));
      body.resize((body.size() + 511) / 512 * 512);
      out += head + body;
    };
    add("d/", '5', "", "");
    add("d/f", '0', "", "content");
    add("d/l", '2', "../../etc", "");
    add("h", '1', "d/f", "");
    add("d/.wh.gone", '0', "", "");
    return out + std::string(1024, '\0');
  }();
  return text;
}

const std::string& directory() {
  // Outlives what runs at exit.
  static const std::string& path = *new std::string([] {
    std::string pattern = (std::filesystem::temp_directory_path() / "appliance-fuzz-XXXXXX").string();
    fuzz::require(::mkdtemp(pattern.data()) != nullptr);
    std::atexit([] { std::filesystem::remove_all(directory()); });
    return pattern;
  }());
  return path;
}

}  // namespace

const std::vector<std::string_view> fuzz::seeds = {archive()};

void fuzz::one(std::string_view input) {
  runtime::UnpackLimits limits;
  limits.bytes = 1 << 20;
  limits.entries = 100;
  const std::string layer = directory() + "/layer";
  std::filesystem::create_directory(layer);
  base::Fd root(::open(layer.c_str(), O_DIRECTORY | O_RDONLY | O_CLOEXEC));
  auto source = runtime::decompress(std::make_unique<Bytes>(input));
  if (source) {
    auto result = runtime::unpack(**source, root.get(), limits, !input.empty() && input.back() == 'p');
    if (result) require(result->entries <= limits.entries && result->bytes <= limits.bytes);
  }
  std::filesystem::remove_all(layer);
  // Nothing but the layer was ever in there.
  require(std::filesystem::is_empty(directory()));
}
