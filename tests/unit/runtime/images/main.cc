// The tests are also the unpacker they start.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#include <csignal>
#include <string_view>

#include "runtime/images/images.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "image-unpacker") return runtime::unpacker_main(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  return Catch::Session().run(argc, argv);
}
