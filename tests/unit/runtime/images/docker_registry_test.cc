// Against the real docker-registry, with images that skopeo and umoci made. Skipped where these are not installed.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/http/client.h"
#include "base/http/stream.h"
#include "tests/unit/runtime/images/fixture.h"

using namespace runtime;
using namespace runtime::testing;
using namespace std::chrono_literals;

namespace {

bool installed(const std::string& program) { return base::exists("/usr/bin/" + program) || base::exists("/bin/" + program); }

void shell(const std::string& command) {
  INFO(command);
  REQUIRE(::system(command.c_str()) == 0);
}

class DockerRegistry {
 public:
  explicit DockerRegistry(const std::string& directory) {
    int port = 20'000 + ::getpid() % 20'000;
    host = fmt::format("127.0.0.1:{}", port);
    std::string config = fmt::format(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/registry}}}}\nhttp: {{addr: \"{}\"}}\n", directory,
        host);
    std::string path = directory + "/registry.yml";
    REQUIRE(base::write_file_atomic(path, config));
    pid_ = ::fork();
    if (pid_ == 0) {
      int null = ::open("/dev/null", O_RDWR);
      for (int fd : {0, 1, 2}) ::dup2(null, fd);
      ::execlp("docker-registry", "docker-registry", "serve", path.c_str(), static_cast<char*>(nullptr));
      ::_exit(1);
    }
  }
  ~DockerRegistry() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Task<> ready() {
    for (int i = 0; i < 200; ++i) {
      auto stream = co_await base::http::connect_tcp("127.0.0.1", static_cast<uint16_t>(std::stoi(host.substr(10))), 1s);
      if (stream) co_return;
      co_await base::sleep_for(50ms);
    }
    FAIL("docker-registry does not start");
  }
  std::string host;

 private:
  pid_t pid_;
};

}  // namespace

TEST_CASE("an image made by umoci and pushed by skopeo to docker-registry is pulled and complete") {
  for (const std::string& program : std::vector<std::string>{"docker-registry", "umoci", "skopeo", "busybox"}) {
    if (!installed(program)) {
      WARN("skipped: " << program << " is not installed");
      return;
    }
  }
  Place place;
  std::string at = place.path;
  shell(fmt::format("cd {} && umoci init --layout oci >/dev/null && umoci new --image oci:app >/dev/null && umoci unpack --image oci:app bundle >/dev/null 2>&1", at));
  shell(fmt::format("cd {}/bundle/rootfs && mkdir -p bin etc && cp /bin/busybox bin/busybox && ln -s busybox bin/sh && ln bin/busybox bin/ls && echo one > etc/one", at));
  shell(fmt::format("cd {} && umoci repack --image oci:app bundle >/dev/null 2>&1 && rm -rf bundle", at));
  shell(fmt::format(
      "cd {} && umoci unpack --image oci:app bundle >/dev/null 2>&1 && rm bundle/rootfs/etc/one && echo two > bundle/rootfs/etc/two", at));
  shell(fmt::format("cd {} && umoci repack --image oci:app bundle >/dev/null 2>&1", at));
  shell(fmt::format("cd {} && umoci config --image oci:app --config.cmd /bin/sh --config.env A=1 --config.user 7:8 >/dev/null", at));
  with_runtime([&](base::Runtime& runtime) -> Task<> {
    DockerRegistry registry(at);
    co_await registry.ready();
    for (const std::string& format : std::vector<std::string>{"oci", "v2s2"}) {
      shell(fmt::format("skopeo copy -q --format {} --dest-tls-verify=false oci:{}/oci:app docker://{}/team/app:{}", format, at,
                        registry.host, format));
    }
    ImagesOptions options;
    options.root = at + "/images";
    Images images(runtime, options);
    must(co_await images.start());
    auto oci = must(co_await images.pull(registry.host + "/team/app:oci"));
    auto docker = must(co_await images.pull(registry.host + "/team/app:v2s2"));
    CHECK(oci->config.cmd == std::vector<std::string>{"/bin/sh"});
    CHECK(oci->config.user == "7:8");
    CHECK(docker->config.cmd == oci->config.cmd);
    CHECK(images.usage().layers == 2);  // both formats hold the same layers
    auto layers = must(images.layers(*oci));
    REQUIRE(layers.size() == 2);
    struct stat s{};
    REQUIRE(::lstat((layers[0] + "/etc/one").c_str(), &s) == 0);
    CHECK(S_ISCHR(s.st_mode));
    CHECK(base::exists(layers[0] + "/etc/two"));
    CHECK(base::exists(layers[1] + "/etc/one"));
    CHECK(std::filesystem::file_size(layers[1] + "/bin/busybox") == std::filesystem::file_size("/bin/busybox"));
    REQUIRE(::lstat((layers[1] + "/bin/ls").c_str(), &s) == 0);
    CHECK(s.st_nlink == 2);
    auto absent = co_await images.pull(registry.host + "/team/app:none");
    REQUIRE_FALSE(absent);
    CHECK(absent.error().code == 404);
    auto nothing = co_await images.pull(registry.host + "/nobody/nothing");
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().code == 404);
    co_await images.stop();
  });
  place.check_canary();
}
