#include "base/error.h"

#include <cerrno>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

namespace base {

namespace {

// Plain concatenation: the pod supervisor links this file and must stay small, which fmt (with the locales behind it) is not.
std::string cat(std::initializer_list<std::string_view> parts) {
  std::string out;
  for (std::string_view p : parts) out += p;
  return out;
}

}  // namespace

Failure fail(int code, std::string_view reason, std::string message) {
  Error e;
  e.code = code;
  e.reason = reason;
  e.message = std::move(message);
  return Failure(std::move(e));
}

Failure bad_request(std::string message) { return fail(400, "BadRequest", std::move(message)); }
Failure unauthorized(std::string message) { return fail(401, "Unauthorized", std::move(message)); }

Failure forbidden(std::string_view resource, std::string_view name, std::string_view why) {
  auto e = fail(403, "Forbidden", cat({resource, " \"", name, "\" is forbidden: ", why}));
  e.error().name = name;
  e.error().kind = resource;
  return e;
}

Failure not_found(std::string_view resource, std::string_view name) {
  auto e = fail(404, "NotFound", cat({resource, " \"", name, "\" not found"}));
  e.error().name = name;
  e.error().kind = resource;
  return e;
}

Failure already_exists(std::string_view resource, std::string_view name) {
  auto e = fail(409, "AlreadyExists", cat({resource, " \"", name, "\" already exists"}));
  e.error().name = name;
  e.error().kind = resource;
  return e;
}

Failure conflict(std::string_view resource, std::string_view name, std::string_view why) {
  auto e = fail(409, "Conflict", cat({"Operation cannot be fulfilled on ", resource, " \"", name, "\": ", why}));
  e.error().name = name;
  e.error().kind = resource;
  return e;
}

Failure expired(std::string message) { return fail(410, "Expired", std::move(message)); }

Failure invalid(std::string_view kind, std::string_view name, std::vector<Cause> causes) {
  std::string list;
  for (const Cause& c : causes) {
    if (!list.empty()) list += ", ";
    list += c.field.empty() ? c.message : cat({c.field, ": ", c.message});
  }
  if (causes.size() > 1) list = "[" + list + "]";
  auto e = fail(422, "Invalid", cat({kind, " \"", name, "\" is invalid: ", list}));
  e.error().kind = kind;
  e.error().name = name;
  e.error().causes = std::move(causes);
  return e;
}

Failure too_large(std::string message) { return fail(413, "RequestEntityTooLarge", std::move(message)); }

Failure too_many_requests(std::string message, int retry_after_seconds) {
  auto e = fail(429, "TooManyRequests", std::move(message));
  e.error().retry_after_seconds = retry_after_seconds;
  return e;
}

Failure timeout(std::string message) { return fail(504, "Timeout", std::move(message)); }
Failure unavailable(std::string message) { return fail(503, "ServiceUnavailable", std::move(message)); }
Failure internal(std::string message) { return fail(500, "InternalError", std::move(message)); }
Failure unsupported(std::string message) { return fail(415, "UnsupportedMediaType", std::move(message)); }

Failure errno_error(std::string_view what, int err) {
  if (err < 0) err = errno;
  return internal(cat({what, ": ", std::strerror(err)}));
}

}  // namespace base
