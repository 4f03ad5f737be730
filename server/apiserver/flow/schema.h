// Which flow a request belongs to: FlowSchemas compiled for matching, in order of precedence (KEP-1040).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/types/flowcontrol_v1.h"
#include "server/apiserver/identity.h"

namespace server::flow {

// What schemas look at. Resource and subresource apart; path for requests of no resource.
struct RequestView {
  const UserInfo& user;
  bool is_resource;
  std::string_view verb, group, resource, subresource, ns, path;
};

bool matches(const api::flowcontrol::PolicyRulesWithSubjects& rules, const RequestView& request);
bool matches(const api::flowcontrol::FlowSchema& schema, const RequestView& request);

// What tells the flows of one schema apart, or empty.
enum class Distinguisher { none, user, ns };
Distinguisher distinguisher_of(const api::flowcontrol::FlowSchema& schema);
std::string_view distinguish(Distinguisher by, const RequestView& request);

// Queues a flow may use: `hand` different ones of `queues`, dealt by the hash like cards (shuffle sharding).
std::vector<uint32_t> deal(uint64_t hash, uint32_t queues, uint32_t hand);
uint64_t flow_hash(std::string_view schema, std::string_view distinguisher);

}  // namespace server::flow
