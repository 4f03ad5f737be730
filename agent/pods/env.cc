#include "agent/pods/env.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

namespace agent {

namespace {

// Calls reference(name) for $(name) and literal(text) for the rest.
template <class Literal, class Reference>
void scan(std::string_view text, Literal literal, Reference reference) {
  size_t from = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) continue;
    if (text[i + 1] == '$') {
      literal(text.substr(from, i + 1 - from));
      from = i + 2;
      ++i;
    } else if (text[i + 1] == '(') {
      size_t close = text.find(')', i + 2);
      if (close == std::string_view::npos) {
        ++i;  // "$(" without an end stands for itself
        continue;
      }
      literal(text.substr(from, i - from));
      reference(text.substr(i + 2, close - i - 2));
      from = close + 1;
      i = close;
    }
  }
  literal(text.substr(from));
}

base::Failure config_error(std::string message) { return base::fail(400, "CreateContainerConfigError", std::move(message)); }

}  // namespace

std::string expand_references(std::string_view text, const Variables& variables) {
  std::string out;
  scan(
      text, [&](std::string_view s) { out.append(s); },
      [&](std::string_view name) {
        auto it = variables.find(std::string(name));
        if (it != variables.end()) {
          out += it->second;
        } else {
          out.append("$(").append(name).append(")");
        }
      });
  return out;
}

Result<std::string> expand_strictly(std::string_view text, const Variables& variables) {
  std::string out, missing;
  scan(
      text, [&](std::string_view s) { out.append(s); },
      [&](std::string_view name) {
        auto it = variables.find(std::string(name));
        if (it != variables.end()) {
          out += it->second;
        } else {
          missing = name;
        }
      });
  if (!missing.empty()) return config_error(fmt::format("missing value for \"{}\"", missing));
  return out;
}

bool is_variable_name(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '='; });
}

void add_service_variables(const api::core::Service& service, Variables& to) {
  const std::string& ip = service.spec.clusterIP;
  if (ip.empty() || ip == "None" || service.spec.ports.empty()) return;
  auto upper = [](std::string s) {
    for (char& c : s) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    return s;
  };
  std::string prefix = upper(service.metadata.name);
  std::string host = ip.find(':') == std::string::npos ? ip : "[" + ip + "]";
  to[prefix + "_SERVICE_HOST"] = ip;
  to[prefix + "_SERVICE_PORT"] = std::to_string(service.spec.ports[0].port);
  bool first = true;
  for (const auto& p : service.spec.ports) {
    if (!p.name.empty()) to[prefix + "_SERVICE_PORT_" + upper(p.name)] = std::to_string(p.port);
    std::string protocol = p.protocol.empty() ? "TCP" : p.protocol;
    std::string lower = protocol;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    std::string url = fmt::format("{}://{}:{}", lower, host, p.port);
    std::string link = fmt::format("{}_PORT_{}_{}", prefix, p.port, protocol);
    if (first) to[prefix + "_PORT"] = url;
    first = false;
    to[link] = url;
    to[link + "_PROTO"] = lower;
    to[link + "_PORT"] = std::to_string(p.port);
    to[link + "_ADDR"] = ip;
  }
}

Variables Environment::as_map() const {
  Variables m;
  for (const auto& [k, v] : variables) m[k] = v;
  return m;
}

Result<Environment> make_environment(const api::core::Container& container, const EnvSource& source, const Variables& services) {
  Environment out;
  Variables known = services;
  auto set = [&](const std::string& name, std::string value) {
    known[name] = value;
    for (auto& [k, v] : out.variables) {
      if (k == name) {
        v = std::move(value);
        return;
      }
    }
    out.variables.emplace_back(name, std::move(value));
  };
  for (const auto& from : container.envFrom) {
    const std::map<std::string, std::string>* data = nullptr;
    std::string what, name;
    bool optional = false;
    if (from.configMapRef) {
      what = "configmap", name = from.configMapRef->name, optional = from.configMapRef->optional.value_or(false);
      data = source.config_map(name);
    } else if (from.secretRef) {
      what = "secret", name = from.secretRef->name, optional = from.secretRef->optional.value_or(false);
      data = source.secret(name);
    } else {
      continue;
    }
    if (!data) {
      if (optional) continue;
      return config_error(fmt::format("{} \"{}\" not found", what, name));
    }
    for (const auto& [key, value] : *data) {
      std::string variable = from.prefix + key;
      if (is_variable_name(variable)) {
        set(variable, value);
      } else {
        out.skipped.push_back(fmt::format("{} {}: {}", what, name, variable));
      }
    }
  }
  for (const auto& e : container.env) {
    std::string value;
    if (!e.valueFrom) {
      value = expand_references(e.value, known);
    } else if (e.valueFrom->fieldRef) {
      TRY(value, source.field(e.valueFrom->fieldRef->fieldPath));
    } else if (e.valueFrom->resourceFieldRef) {
      TRY(value, source.resource(*e.valueFrom->resourceFieldRef, container.name));
    } else if (e.valueFrom->configMapKeyRef || e.valueFrom->secretKeyRef) {
      bool is_secret = static_cast<bool>(e.valueFrom->secretKeyRef);
      const std::string& name = is_secret ? e.valueFrom->secretKeyRef->name : e.valueFrom->configMapKeyRef->name;
      const std::string& key = is_secret ? e.valueFrom->secretKeyRef->key : e.valueFrom->configMapKeyRef->key;
      bool optional = (is_secret ? e.valueFrom->secretKeyRef->optional : e.valueFrom->configMapKeyRef->optional).value_or(false);
      const auto* data = is_secret ? source.secret(name) : source.config_map(name);
      if (!data) {
        if (optional) continue;
        return config_error(fmt::format("{} \"{}\" not found", is_secret ? "secret" : "configmap", name));
      }
      auto it = data->find(key);
      if (it == data->end()) {
        if (optional) continue;
        return config_error(fmt::format("couldn't find key {} in {} {}", key, is_secret ? "Secret" : "ConfigMap", name));
      }
      value = it->second;
    } else {
      return config_error(fmt::format("environment variable {} has a source that this node does not support", e.name));
    }
    set(e.name, std::move(value));
  }
  for (const auto& [name, value] : services) {
    bool there = std::any_of(out.variables.begin(), out.variables.end(), [&](const auto& v) { return v.first == name; });
    if (!there) out.variables.emplace_back(name, value);
  }
  return out;
}

}  // namespace agent
