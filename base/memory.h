// The process's own memory.
#pragma once

namespace base {

// Gives back to the system what the allocator holds without use, when that is much: a peak of load is over. Cheap otherwise. Whether it did.
bool release_unused_memory();

}  // namespace base
