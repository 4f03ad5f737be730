#include "server/apiserver/join/token.h"

#include "base/bytes.h"
#include "base/files.h"

namespace server {
namespace {

std::string trimmed(std::string s) {
  while (!s.empty() && (s.back() == '\n' || s.back() == ' ' || s.back() == '\r')) s.pop_back();
  return s;
}

base::Result<std::string> secret_of(const std::string& path, const std::string& given, const std::string& otherwise,
                                    const std::string& ca_pem, std::string_view role) {
  std::string secret(secret_in_token(given));
  if (secret.empty() && base::exists(path)) {
    TRY(std::string text, base::read_file(path, 4096));
    secret = secret_in_token(trimmed(text));
  }
  if (secret.empty()) secret = otherwise;
  std::string full = full_token(ca_pem, role, secret) + "\n";
  auto present = base::read_file(path, 4096);
  if (!present || *present != full) CHECK_OK(base::write_file_atomic(path, full, 0600));
  return secret;
}

}  // namespace

std::string_view secret_in_token(std::string_view token) {
  size_t mark = token.find("::");
  if (!token.starts_with("A10") || mark == token.npos) return token;
  token.remove_prefix(mark + 2);
  size_t colon = token.find(':');
  return colon == token.npos ? token : token.substr(colon + 1);
}

std::string full_token(const std::string& ca_pem, std::string_view role, std::string_view secret) {
  return "A10" + base::sha256_hex(ca_pem) + "::" + std::string(role) + ":" + std::string(secret);
}

base::Result<JoinTokens> load_join_tokens(const std::string& data_dir, const std::string& given, const std::string& given_agent,
                                          const std::string& ca_pem) {
  JoinTokens out;
  std::string directory = data_dir + "/server";
  CHECK_OK(base::make_dirs(directory, 0700));
  TRY(out.server, secret_of(directory + "/token", given, base::hex_encode(base::random_bytes(16)), ca_pem, "server"));
  // Its own secret: an agent's token never opens what the server's does.
  TRY(out.agent, secret_of(directory + "/agent-token", given_agent, base::hex_encode(base::random_bytes(16)), ca_pem, "agent"));
  return out;
}

}  // namespace server
