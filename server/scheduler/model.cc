#include "server/scheduler/model.h"

#include <algorithm>
#include <charconv>

namespace server::scheduler {
namespace {

std::optional<int64_t> number(std::string_view text) {
  int64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}

}  // namespace

bool Requirement::matches(const std::string* value) const {
  switch (op) {
    case Op::in:
      return value && std::find(values.begin(), values.end(), *value) != values.end();
    case Op::not_in:
      return !value || std::find(values.begin(), values.end(), *value) == values.end();
    case Op::exists:
      return value != nullptr;
    case Op::absent:
      return value == nullptr;
    case Op::greater:
    case Op::less: {
      if (!value || values.size() != 1) return false;
      auto have = number(*value), bound = number(values.front());
      return have && bound && (op == Op::greater ? *have > *bound : *have < *bound);
    }
  }
  return false;
}

bool Requirement::matches(const Labels& labels) const {
  auto it = labels.find(key);
  return matches(it == labels.end() ? nullptr : &it->second);
}

bool Selector::matches(const Labels& labels) const {
  if (nothing) return false;
  return std::all_of(all.begin(), all.end(), [&](const Requirement& r) { return r.matches(labels); });
}

void Resources::add(const Resources& o, int64_t sign) {
  cpu += sign * o.cpu;
  memory += sign * o.memory;
  ephemeral += sign * o.ephemeral;
  pods += sign * o.pods;
  for (const auto& [name, n] : o.extended) {
    auto it = extended.try_emplace(name, 0).first;
    if ((it->second += sign * n) == 0) extended.erase(it);
  }
}

void Resources::raise_to(const Resources& o) {
  cpu = std::max(cpu, o.cpu);
  memory = std::max(memory, o.memory);
  ephemeral = std::max(ephemeral, o.ephemeral);
  pods = std::max(pods, o.pods);
  for (const auto& [name, n] : o.extended) {
    auto& mine = extended[name];
    mine = std::max(mine, n);
  }
}

bool Toleration::tolerates(const Taint& taint) const {
  if (!effect.empty() && effect != taint.effect) return false;
  if (!key.empty() && key != taint.key) return false;
  if (key.empty() && !exists) return false;
  return exists || value == taint.value;
}

}  // namespace server::scheduler
