// Runs several writes at the same time and waits for all of them.
#pragma once

#include <vector>

#include "base/io.h"

namespace server::controllers {

// The first failure, or success; every task has ended when it returns. At most `width` at a time.
base::Task<base::Result<>> together(base::Tasks& tasks, std::vector<base::Task<base::Result<>>> work, size_t width = 64);

}  // namespace server::controllers
