// Errors as values, shaped like metav1.Status so that they reach a Kubernetes client unchanged.
//
// Every boundary returns Result<T>; exceptions mean bugs or teardown. `code` is an HTTP status, `reason` one of the
// Kubernetes StatusReason words (API conventions, "Response Status Kind").
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace base {

// One entry of Status.details.causes.
struct Cause {
  std::string reason;  // e.g. "FieldValueRequired"
  std::string message;
  std::string field;  // path such as spec.containers[0].image
};

struct Error {
  int code = 500;
  std::string reason = "InternalError";
  std::string message;
  std::vector<Cause> causes;
  // Status.details: what the error is about; empty where unknown.
  std::string group, kind, name;
  int retry_after_seconds = 0;
};

template <class T = void>
using Result = std::expected<T, Error>;

using Failure = std::unexpected<Error>;

// Constructors for the usual reasons. All return Failure, so `return base::not_found(...)` works in any Result<T>.
Failure fail(int code, std::string_view reason, std::string message);
Failure bad_request(std::string message);                                                        // 400 BadRequest
Failure unauthorized(std::string message);                                                       // 401 Unauthorized
Failure forbidden(std::string_view resource, std::string_view name, std::string_view why);       // 403 Forbidden
Failure not_found(std::string_view resource, std::string_view name);                             // 404 NotFound
Failure already_exists(std::string_view resource, std::string_view name);                        // 409 AlreadyExists
Failure conflict(std::string_view resource, std::string_view name, std::string_view why);        // 409 Conflict
Failure expired(std::string message);                                                            // 410 Expired
Failure invalid(std::string_view kind, std::string_view name, std::vector<Cause> causes);        // 422 Invalid
Failure too_large(std::string message);                                                          // 413 RequestEntityTooLarge
Failure too_many_requests(std::string message, int retry_after_seconds);                         // 429 TooManyRequests
Failure timeout(std::string message);                                                            // 504 Timeout
Failure unavailable(std::string message);                                                        // 503 ServiceUnavailable
Failure internal(std::string message);                                                           // 500 InternalError
Failure unsupported(std::string message);                                                        // 415 UnsupportedMediaType
// errno as a sentence: errno_error("open /x") -> "open /x: No such file or directory". Reads errno unless given.
Failure errno_error(std::string_view what, int err = -1);

inline bool is_not_found(const Error& e) { return e.code == 404; }
inline bool is_conflict(const Error& e) { return e.code == 409 && e.reason == "Conflict"; }
inline bool is_already_exists(const Error& e) { return e.code == 409 && e.reason == "AlreadyExists"; }
inline bool is_expired(const Error& e) { return e.code == 410; }

}  // namespace base

// Evaluates an expression of type Result<T>; returns its error from the enclosing function (or coroutine), or
// binds its value. Two spellings because `return` is not allowed in a coroutine.
#define APPL_CONCAT2(a, b) a##b
#define APPL_CONCAT(a, b) APPL_CONCAT2(a, b)
#define APPL_TRY_(tmp, decl, expr, ret)                      \
  auto tmp = (expr);                                         \
  if (!tmp) ret std::unexpected(std::move(tmp).error());     \
  decl = std::move(*tmp)
#define TRY(decl, expr) APPL_TRY_(APPL_CONCAT(try_, __LINE__), decl, expr, return)
#define CO_TRY(decl, expr) APPL_TRY_(APPL_CONCAT(try_, __LINE__), decl, expr, co_return)
// For Result<void>.
#define CHECK_OK(expr) \
  do { if (auto r_ = (expr); !r_) return std::unexpected(std::move(r_).error()); } while (0)
#define CO_CHECK_OK(expr) \
  do { if (auto r_ = (expr); !r_) co_return std::unexpected(std::move(r_).error()); } while (0)
