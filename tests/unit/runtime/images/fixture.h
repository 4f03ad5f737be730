// Archives made by hand, directories with a canary beside them, and unpackers to run on them.
#pragma once

#include <stdlib.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <map>
#include <string>

#include <fmt/format.h>

#include "base/files.h"
#include "runtime/images/images.h"
#include "runtime/images/layer.h"

namespace runtime::testing {

inline void with_runtime(const std::function<Task<>(base::Runtime&)>& body) {
  base::Runtime runtime(2);
  base::run_to_end(runtime, body(runtime));
}

template <class T>
T must(Result<T> result) {
  INFO((result ? std::string() : result.error().message));
  REQUIRE(result.has_value());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// path/target to unpack into, path/canary with a file nobody may touch.
class Place {
 public:
  Place() {
    char name[] = "/tmp/images-test-XXXXXX";
    path = ::mkdtemp(name);
    target = path + "/target";
    ::mkdir(target.c_str(), 0755);
    ::mkdir((path + "/canary").c_str(), 0755);
    REQUIRE(base::write_file_atomic(path + "/canary/file", "alive", 0644));
    ::lstat((path + "/canary/file").c_str(), &before_);
  }
  ~Place() { (void)base::remove_all(path); }

  void check_canary() const {
    auto text = base::read_file(path + "/canary/file");
    CHECK((text && *text == "alive"));
    struct stat now;
    CHECK(::lstat((path + "/canary/file").c_str(), &now) == 0);
    CHECK(now.st_mode == before_.st_mode);
    CHECK(now.st_nlink == before_.st_nlink);
    CHECK(now.st_ctim.tv_nsec == before_.st_ctim.tv_nsec);
    CHECK(now.st_uid == before_.st_uid);
  }
  struct stat stat_of(const std::string& name) const {
    struct stat s{};
    INFO(name);
    CHECK(::lstat((target + "/" + name).c_str(), &s) == 0);
    return s;
  }
  bool has(const std::string& name) const { return base::exists(target + "/" + name); }

  std::string path, target;

 private:
  struct stat before_;
};

class Tar {
 public:
  struct Options {
    unsigned mode = 0644;
    unsigned uid = 0, gid = 0;
    std::string link;
    long mtime = 1'700'000'000;
    unsigned major = 0, minor = 0;
    std::map<std::string, std::string> pax;
    long claimed_size = -1;  // written into the header instead of the real one
  };

  Tar& file(const std::string& name, std::string_view content, Options o) { return add('0', name, content, o); }
  Tar& file(const std::string& name, std::string_view content = "") { return add('0', name, content, Options()); }
  Tar& directory(const std::string& name, unsigned mode = 0755) {
    Options o;
    o.mode = mode;
    return add('5', name, "", o);
  }
  Tar& symlink(const std::string& name, const std::string& to) {
    Options o;
    o.link = to;
    return add('2', name, "", o);
  }
  Tar& hardlink(const std::string& name, const std::string& to) {
    Options o;
    o.link = to;
    return add('1', name, "", o);
  }
  Tar& device(const std::string& name, unsigned major, unsigned minor, char type = '3') {
    Options o;
    o.major = major;
    o.minor = minor;
    return add(type, name, "", o);
  }

  Tar& add(char type, const std::string& name, std::string_view content, Options o) {
    if (name.size() > 100) o.pax["path"] = name;
    if (o.link.size() > 100) o.pax["linkpath"] = o.link;
    if (!o.pax.empty()) {
      std::string records;
      for (auto& [key, value] : o.pax) {
        size_t length = key.size() + value.size() + 3;
        size_t total = length + std::to_string(length).size();
        if (std::to_string(total).size() != std::to_string(length).size()) total = length + std::to_string(total).size();
        records += fmt::format("{} {}={}\n", total, key, value);
      }
      block('x', "pax", records, Options());
    }
    block(type, name.substr(0, 100), content, o);
    return *this;
  }

  std::string bytes() const { return data_ + std::string(1024, '\0'); }
  std::string unfinished() const { return data_; }

 private:
  void block(char type, const std::string& name, std::string_view content, const Options& o) {
    char h[512] = {};
    std::memcpy(h, name.data(), std::min<size_t>(name.size(), 100));
    auto octal = [&](size_t at, size_t width, unsigned long long value) { std::snprintf(h + at, width, "%0*llo", int(width) - 1, value); };
    octal(100, 8, o.mode);
    octal(108, 8, o.uid);
    octal(116, 8, o.gid);
    octal(124, 12, static_cast<unsigned long long>(o.claimed_size >= 0 ? o.claimed_size : long(content.size())));
    octal(136, 12, static_cast<unsigned long long>(o.mtime));
    h[156] = type;
    std::memcpy(h + 157, o.link.data(), std::min<size_t>(o.link.size(), 100));
    std::memcpy(h + 257, "ustar\00000", 8);
    octal(329, 8, o.major);
    octal(337, 8, o.minor);
    std::memset(h + 148, ' ', 8);
    unsigned sum = 0;
    for (char c : h) sum += static_cast<unsigned char>(c);
    std::snprintf(h + 148, 8, "%06o", sum);
    data_.append(h, 512);
    data_ += content;
    data_.append((512 - content.size() % 512) % 512, '\0');
  }

  std::string data_;
};

inline std::string gzip(const std::string& in) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&z, in.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  z.avail_in = static_cast<uInt>(in.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

inline std::string zstd(const std::string& in) {
  std::string out(ZSTD_compressBound(in.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), in.data(), in.size(), 3));
  return out;
}

class MemoryBlob final : public BlobSource {
 public:
  explicit MemoryBlob(std::string data, size_t step = 1 << 20) : data_(std::move(data)), step_(step) {}
  Task<Result<size_t>> read(std::span<char> into) override {
    size_t n = std::min({into.size(), data_.size() - at_, step_});
    std::memcpy(into.data(), data_.data() + at_, n);
    at_ += n;
    co_return n;
  }

 private:
  std::string data_;
  size_t at_ = 0, step_;
};

inline Result<UnpackedLayer> unpack_bytes(const Place& place, std::string data, std::function<void(UnpackJob&)> change = {},
                                          size_t step = 1 << 20) {
  Result<UnpackedLayer> result = base::internal("not run");
  with_runtime([&](base::Runtime&) -> Task<> {
    UnpackJob job;
    job.self_exe = "/proc/self/exe";
    job.directory = place.target;
    if (change) change(job);
    MemoryBlob blob(std::move(data), step);
    result = co_await unpack_layer(job, blob, {});
  });
  return result;
}

}  // namespace runtime::testing
