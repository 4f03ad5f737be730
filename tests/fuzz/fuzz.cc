#include "fuzz.h"

#include <sys/stat.h>

#include <cstdint>
#include <fstream>
#include <string>

#include "base/log.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  base::log::set_level(base::log::Level::error);
  const std::string corpus = (*argv)[*argc - 1];
  struct stat s {};
  if (*argc < 2 || ::stat(corpus.c_str(), &s) != 0 || !S_ISDIR(s.st_mode)) return 0;
  for (size_t i = 0; i < fuzz::seeds.size(); ++i) std::ofstream(corpus + "/seed-" + std::to_string(i)) << fuzz::seeds[i];
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::one({reinterpret_cast<const char*>(data), size});
  return 0;
}
