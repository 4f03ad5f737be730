// HTTP vocabulary without any parser type in it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace base::http {

// Field lines in order of arrival; names compare without case.
class Headers {
 public:
  std::string_view get(std::string_view name) const;  // the first, or empty
  std::vector<std::string_view> all(std::string_view name) const;
  bool has(std::string_view name) const;
  void set(std::string_view name, std::string_view value);  // replaces all of that name
  void add(std::string_view name, std::string_view value);
  void remove(std::string_view name);
  // Whether a comma-separated field holds the token, without case ("Connection: keep-alive, Upgrade").
  bool has_token(std::string_view name, std::string_view token) const;
  auto begin() const { return lines_.begin(); }
  auto end() const { return lines_.end(); }
  size_t size() const { return lines_.size(); }

 private:
  std::vector<std::pair<std::string, std::string>> lines_;
};

// "a=1&b=%20" decoded, in order.
class Query {
 public:
  Query() = default;
  explicit Query(std::string_view encoded);
  std::string_view get(std::string_view name) const;
  bool has(std::string_view name) const;
  std::vector<std::string_view> all(std::string_view name) const;
  bool flag(std::string_view name)
      const;  // present, and neither "0" nor "false": as the Kubernetes API reads booleans (clients send True, true, 1)
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  bool empty() const { return items_.empty(); }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

std::string_view status_text(int status);

}  // namespace base::http
