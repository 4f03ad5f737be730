#include "server/apiserver/pki/cluster_pki.h"

#include <dirent.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/files.h"
#include "base/log.h"

namespace server::pki {
namespace {

using namespace std::chrono_literals;

// What can be made again need not survive a power cut: a pair that does not fit together is replaced.
Result<> save(const std::string& path, const KeyPair& pair, bool durable) {
  CHECK_OK(base::write_file_atomic(path + ".key", pair.key_pem, 0600, durable));
  return base::write_file_atomic(path + ".crt", pair.certificate_pem, 0600, durable);
}

Result<KeyPair> load(const std::string& path) {
  TRY(std::string cert, base::read_file(path + ".crt"));
  TRY(std::string key, base::read_file(path + ".key"));
  return KeyPair{cert, key};
}

std::vector<std::string> sorted(std::vector<std::string> v) {
  std::sort(v.begin(), v.end());
  return v;
}

// Whether the pair is of this authority, has the wanted names and more than a third of its life left.
bool good(const KeyPair& pair, const Profile& wanted) {
  auto facts = read_certificate(pair.certificate_pem);
  if (!facts) return false;
  auto own = public_key_of(pair.key_pem);
  if (!own || *own != facts->public_key_pem) return false;
  auto life = facts->not_after - facts->not_before;
  if (facts->not_after - base::WallClock::now() < life / 3) return false;
  return facts->subject.common_name == wanted.subject.common_name && sorted(facts->dns_names) == sorted(wanted.dns_names) &&
         sorted(facts->ip_addresses) == sorted(wanted.ip_addresses);
}

Result<KeyPair> ensure(const std::string& path, const KeyPair& ca, const Profile& profile) {
  if (base::exists(path + ".crt")) {
    if (auto pair = load(path); pair && good(*pair, profile)) return *pair;
    base::log::info("pki", "renewing {}", path + ".crt");
  }
  TRY(KeyPair pair, issue_pair(ca, profile));
  CHECK_OK(save(path, pair, false));
  return pair;
}

std::vector<std::string> further_public_keys(const std::string& directory) {
  std::vector<std::string> out;
  if (DIR* d = opendir(directory.c_str())) {
    while (dirent* e = readdir(d)) {
      std::string_view name = e->d_name;
      if (name.starts_with("service-account.") && name.ends_with(".pub"))
        if (auto text = base::read_file(directory + "/" + e->d_name)) out.push_back(*text);
    }
    closedir(d);
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Result<ServiceAccountKeys> load_service_account_keys(const std::string& directory) {
  ServiceAccountKeys out;
  TRY(out.private_key, base::read_file(directory + "/service-account.key"));
  out.public_keys = further_public_keys(directory);
  return out;
}

Result<std::string> rotate_service_account_key(const std::string& directory) {
  const std::string path = directory + "/service-account.key";
  TRY(std::string before, base::read_file(path));
  TRY(std::string before_public, public_key_of(before));
  std::string time = base::now_rfc3339();
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  std::string kept = "service-account." + time + "-" + base::random_suffix(4) + ".pub";
  // First what is accepted, then what signs: no token is ever without its key.
  CHECK_OK(base::write_file_atomic(directory + "/" + kept, before_public, 0600));
  TRY(std::string key, make_key());
  CHECK_OK(base::write_file_atomic(path, key, 0600));
  return kept;
}

Result<ClusterPki> load_or_make(const std::string& directory, const ServerNames& names) {
  CHECK_OK(base::make_dirs(directory, 0700));
  ClusterPki out;
  std::string ca_path = directory + "/ca";
  if (base::exists(ca_path + ".crt")) {
    TRY(out.ca, load(ca_path));
    TRY(CertificateFacts facts, read_certificate(out.ca.certificate_pem));
    if (facts.not_after - base::WallClock::now() < 24h * 365)
      base::log::warn("pki", "the cluster CA ends on {}", base::rfc3339(facts.not_after));
  } else {
    auto serial = std::chrono::duration_cast<std::chrono::seconds>(base::WallClock::now().time_since_epoch()).count();
    TRY(out.ca, make_authority("appliance-ca@" + std::to_string(serial), 24h * 3650));
    CHECK_OK(save(ca_path, out.ca, true));
  }
  Profile server;
  server.subject.common_name = "kube-apiserver";
  server.dns_names = names.dns;
  server.ip_addresses = names.ip;
  server.server = true;
  TRY(out.server, ensure(directory + "/server", out.ca, server));
  Profile admin;
  admin.subject = {"system:admin", {"system:masters"}};
  admin.client = true;
  TRY(out.admin, ensure(directory + "/admin", out.ca, admin));

  std::string sa = directory + "/service-account.key";
  if (!base::exists(sa)) {
    TRY(std::string key, make_key());
    CHECK_OK(base::write_file_atomic(sa, key, 0600));
  }
  TRY(out.service_account, load_service_account_keys(directory));
  return out;
}

Result<KeyPair> client_pair(const KeyPair& ca, const Subject& subject, std::chrono::seconds validity) {
  Profile profile;
  profile.subject = subject;
  profile.client = true;
  profile.validity = validity;
  return issue_pair(ca, profile);
}

}  // namespace server::pki
