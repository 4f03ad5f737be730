#include "base/memory.h"

#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

namespace base {
namespace {

// Resident bytes that belong to no file; 0 when unknown.
size_t resident() {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/statm", "re"), std::fclose);
  size_t all = 0, pages = 0, shared = 0;
  if (!file || std::fscanf(file.get(), "%zu %zu %zu", &all, &pages, &shared) != 3) return 0;
  return (pages - shared) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

bool release_unused_memory() {
  constexpr size_t tolerated = 12u << 20;
  size_t held = resident();
  if (held < tolerated) return false;
  struct mallinfo2 m = ::mallinfo2();
  size_t used = m.uordblks + m.hblkhd;
  if (held < used + used / 8 + tolerated) return false;
  return ::malloc_trim(0) != 0;
}

}  // namespace base
