// application/vnd.kubernetes.protobuf: objects to and from the JSON DOM, driven by the schema, with the envelope "k8s\0" + runtime.Unknown.
#pragma once

#include <string>
#include <string_view>

#include "api/schema.h"
#include "base/error.h"
#include "base/json.h"

namespace api {

bool has_protobuf_envelope(std::string_view body);

// An enveloped object; apiVersion and kind come from the envelope. 415 if its kind has no protobuf form, 400 on malformed bytes.
base::Result<base::json::value> from_protobuf(std::string_view body);
// A message without envelope.
base::Result<base::json::value> from_protobuf_message(const Type& type, std::string_view body);

// Enveloped; the kind is taken from the object (lists of served kinds, Status and Table's absence included). 406 if it has no protobuf form.
base::Result<std::string> to_protobuf(const base::json::value& object);
// A list in pieces, so that it never exists as a DOM: its head, item after item, its tail.
class ProtobufList {
 public:
  // 406 as to_protobuf.
  static base::Result<ProtobufList> begin(std::string api_version, std::string list_kind, const base::json::value& metadata);
  // What stands for an item in every list of its kind.
  std::string item(const base::json::value& object) const;
  // `items`: bytes of all items.
  std::string head(size_t items) const;
  static std::string_view tail();

 private:
  const Type* element_ = nullptr;
  uint32_t number_ = 0;
  std::string api_version_, kind_, metadata_;
};
std::string to_protobuf_message(const Type& type, const base::json::value& object);

// One frame of a watch stream: 4 bytes of length, then a meta.v1 WatchEvent (itself without envelope) around an enveloped object.
std::string protobuf_watch_frame(std::string_view event_type, std::string_view enveloped_object);

}  // namespace api
