#include "server/apiserver/audit/auditor.h"

#include <algorithm>

#include "base/files.h"
#include "base/json.h"

namespace server::audit {

void Auditor::write(const Event& event) {
  thread_local std::string line;
  line.clear();
  append_event(line, event);
  by_level_[static_cast<size_t>(event.level)].fetch_add(1, std::memory_order_relaxed);
  log_->append(line);
  constexpr size_t keep = 64 * 1024;
  if (line.capacity() > keep) line = std::string();
}

Result<std::unique_ptr<Auditor>> make_auditor(const AuditOptions& options) {
  if (options.log.path.empty() || options.log.path == "off") return std::unique_ptr<Auditor>();
  Policy policy = Policy::standard();
  if (!options.policy_file.empty()) {
    TRY(std::string text, base::read_file(options.policy_file, 1u << 20));
    auto parsed = Policy::parse(text);
    if (!parsed) return base::bad_request("audit policy " + options.policy_file + ": " + parsed.error().message);
    policy = std::move(*parsed);
  }
  auto log = std::make_unique<Log>(options.log);
  CHECK_OK(log->start());
  return std::make_unique<Auditor>(std::move(policy), std::move(log));
}

namespace {

std::string without_managed_fields(std::string_view text) {
  auto v = base::parse_json(text, 256);
  if (!v || !v->is_object()) return std::string(text);
  auto strip = [](base::json::value& o) {
    if (!o.is_object()) return;
    if (auto* meta = o.get_object().if_contains("metadata"); meta && meta->is_object()) meta->get_object().erase("managedFields");
  };
  strip(*v);
  if (auto* items = v->get_object().if_contains("items"); items && items->is_array())
    for (auto& item : items->get_array()) strip(item);
  return base::to_text(*v);
}

// The text of a member right behind others without escapes.
std::string_view member(std::string_view text, std::string_view name) {
  size_t at = text.find(name);
  if (at == text.npos) return {};
  text.remove_prefix(at + name.size());
  return text.substr(0, text.find('"'));
}

}  // namespace

std::string kept_text(const Decision& decision, std::string text) {
  if (text.size() > most_object) return {};
  return decision.omit_managed_fields ? without_managed_fields(text) : text;
}

Named named_in(std::string_view object) {
  std::string_view head = object.substr(0, 1024);
  head.remove_prefix(std::min(head.find("\"metadata\":{"), head.size()));
  return {member(head, "\"name\":\""), member(head, "\"uid\":\"")};
}

}  // namespace server::audit
