#include "server/apiserver/http/encryption.h"

#include <fmt/format.h>

#include "base/log.h"

namespace server {

using base::json::array;
using base::json::object;

namespace {

Task<Result<object>> state(datastore::Store& store, const datastore::Keyring* keyring) {
  CO_TRY(datastore::Sealing sealing, co_await store.sealing());
  object out{{"enabled", sealing.enabled}, {"plain", sealing.plain}};
  array keys;
  if (keyring) {
    out["file"] = keyring->path();
    for (const auto& k : keyring->keys()) {
      size_t rows = 0;
      for (const auto& [id, n] : sealing.by_key)
        if (id == k.id) rows = n;
      keys.push_back(object{{"id", k.id}, {"made", k.made}, {"rows", rows}});
    }
  }
  out["keys"] = std::move(keys);
  co_return out;
}

}  // namespace

Task<> serve_encryption(Exchange& x, datastore::Store& store, const datastore::Keyring* keyring) {
  if (x.request.method == "POST") {
    std::string_view action = x.request.query.get("action");
    const bool rotate = action == "rotate-key";
    if (!rotate && action != "reencrypt")
      co_return co_await send_error(x, base::bad_request("action: rotate-key or reencrypt is expected").error());
    if (!keyring) co_return co_await send_error(x, base::fail(409, "Conflict", "encryption is off on this server").error());
    auto done = co_await store.reseal(rotate);
    if (!done) co_return co_await send_error(x, done.error());
    base::log::info("apiserver", "secrets encrypted anew{}, asked for by {}", rotate ? " with a new key" : "", x.user->name);
  } else if (x.request.method != "GET") {
    co_return co_await send_error(
        x, base::fail(405, "MethodNotAllowed", "the server does not allow this method on the requested resource").error());
  }
  auto now = co_await state(store, keyring);
  if (!now) co_return co_await send_error(x, now.error());
  std::string text = base::to_text(*now);
  co_await send_json(x, 200, text);
}

}  // namespace server
