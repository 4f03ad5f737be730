// Admission: what is done to, and checked of, a write that is authorised and well-formed. A fixed list, made in one place, run in order.
#pragma once

#include <memory>
#include <vector>

#include "base/io.h"
#include "server/apiserver/registry/strategy.h"

namespace server {

enum class Operation { create, update, remove, connect };

struct Admit {
  Operation operation;
  WriteAttempt& attempt;
  base::json::value* object = nullptr;        // null for a deletion
  const base::json::value* before = nullptr;  // null for a creation
};

class AdmissionPlugin {
 public:
  virtual ~AdmissionPlugin() = default;
  virtual std::string_view name() const = 0;
  // Cheap: most plugins look at few resources.
  virtual bool handles(const Admit& a) const = 0;
  // May change the object. Runs before validation.
  virtual base::Task<Result<>> mutate(Admit) { co_return Result<>{}; }
  // Sees the object as it will be stored.
  virtual base::Task<Result<>> validate(Admit) { co_return Result<>{}; }
};

using AdmissionChain = std::vector<std::unique_ptr<AdmissionPlugin>>;

}  // namespace server
