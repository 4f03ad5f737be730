// The string rules of the API with the messages of Kubernetes' validation. Each returns an empty string when the value is good.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace api {

std::string check_dns1123_label(std::string_view value);      // at most 63
std::string check_dns1123_subdomain(std::string_view value);  // at most 253
std::string check_dns1035_label(std::string_view value);      // services
std::string check_wildcard_subdomain(std::string_view value); // *.example.com
std::string check_qualified_name(std::string_view value);     // keys of labels and annotations: [prefix/]name
std::string check_label_value(std::string_view value);        // at most 63
std::string check_path_segment(std::string_view value);       // RBAC names: no "." ".." "/" "%"
std::string check_config_key(std::string_view value);         // keys of ConfigMaps and Secrets
std::string check_env_name(std::string_view value);
std::string check_port_name(std::string_view value);          // IANA service name, at most 15
std::string check_port(int64_t value);                        // 1-65535
std::string check_ip(std::string_view value);
std::string check_cidr(std::string_view value);
std::string check_cron(std::string_view value);
std::string check_domain_path(std::string_view value);        // example.com/path
std::string check_csi_driver(std::string_view value);         // at most 63, letters of both cases
std::string check_sysctl(std::string_view value);
std::string check_c_identifier(std::string_view value);
std::string check_absolute_path(std::string_view value);
std::string check_uuid(std::string_view value);
std::string check_time_zone(std::string_view value);
// Whether it is an IPv6 address.
bool is_ipv6(std::string_view value);

}  // namespace api
