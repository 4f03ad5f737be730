#include "server/apiserver/registry/continue_token.h"

#include "base/bytes.h"
#include "base/json.h"

namespace server {

std::string encode_continue(const ContinueToken& token) {
  return base::base64url_encode(base::to_text(base::json::object{{"v", "meta.k8s.io/v1"}, {"rv", token.revision}, {"start", token.start}}));
}

base::Result<ContinueToken> decode_continue(std::string_view text) {
  auto bad = [](std::string_view why) { return base::bad_request("continue key is not valid: " + std::string(why)); };
  auto decoded = base::base64url_decode(text);
  if (!decoded) return bad("not base64");
  auto v = base::parse_json(*decoded, 4);
  if (!v) return bad("not what the server handed out");
  if (base::get_string(*v, "v") != "meta.k8s.io/v1") return bad("server does not recognize this encoded version");
  ContinueToken out;
  int64_t revision = base::get_int(*v, "rv");
  if (revision < 0) return bad("incorrect encoded start resourceVersion");
  out.revision = static_cast<datastore::Revision>(revision);
  out.start = base::get_string(*v, "start");
  if (out.start.empty() || out.start.find("..") != std::string::npos) return bad("incorrect start key");
  return out;
}

}  // namespace server
