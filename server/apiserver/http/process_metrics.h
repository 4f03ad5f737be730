// The process_* series every Prometheus exporter has.
#pragma once

#include <string>
#include <string_view>

namespace server {

void metric_head(std::string& out, std::string_view name, std::string_view type, std::string_view help);
void append_process_metrics(std::string& out, std::string_view version);

}  // namespace server
