// Takes everything away that carries our mark in this network namespace: table `appliance` and the links appl*.
#pragma once

#include "base/error.h"

namespace network {

// Goes on after a failure and reports the first. Absent is success. Blocking.
base::Result<> cleanup();

}  // namespace network
