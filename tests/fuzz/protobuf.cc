// Protobuf bodies: enveloped objects, and messages of a type that the first byte chooses.
#include "api/protobuf.h"
#include "api/schema.h"
#include "fuzz.h"

using namespace std::string_view_literals;

const std::vector<std::string_view> fuzz::seeds = {
    "k8s\0\n\x0f\n\2v1\x12\x09""ConfigMap\x12\x0a\n\x08\n\1a\x1a\3def"sv, "\0\n\x08\n\1a\x1a\3def\x12\5\x12\3\n\1c"sv};

namespace {

constexpr std::string_view kinds[][2] = {
    {"v1", "Pod"},    {"apps/v1", "Deployment"},           {"v1", "ConfigMap"},
    {"v1", "Secret"}, {"networking.k8s.io/v1", "Ingress"}, {"apiextensions.k8s.io/v1", "CustomResourceDefinition"},
    {"v1", "Event"},  {"policy/v1", "PodDisruptionBudget"}};

}  // namespace

void fuzz::one(std::string_view input) {
  if (api::has_protobuf_envelope(input)) {
    auto v = api::from_protobuf(input);
    if (v) require(base::parse_json(base::to_text(*v), 256).has_value());
    if (v) (void)api::to_protobuf(*v);
    return;
  }
  if (input.empty()) return;
  auto [version, name] = kinds[static_cast<unsigned char>(input[0]) % std::size(kinds)];
  const api::Type& type = *api::Schema::builtin().kind(version, name)->type;
  auto v = api::from_protobuf_message(type, input.substr(1));
  if (!v) return;
  require(base::parse_json(base::to_text(*v), 256).has_value());
  auto again = api::from_protobuf_message(type, api::to_protobuf_message(type, *v));
  require(again.has_value());
}
