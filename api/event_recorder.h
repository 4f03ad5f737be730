// Tells users what happened to an object, as core/v1 Events. Thread-safe; recording never waits and never fails the caller.
//
// Repetitions of one event raise its count instead of making new objects; more than ten different messages for one reason on one object within ten minutes
// become one combined event; an object gets at most 25 events at once and then one every five minutes from one component (client-go's correlator).
// At most 1,000 wait to be written; further ones are dropped.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/client.h"
#include "api/types/core_v1.h"
#include "base/io.h"

namespace api {

core::ObjectReference reference_to(const KindInfo& kind, const meta::ObjectMeta& metadata);
template <class T>
core::ObjectReference reference_to(const T& object) {
  return reference_to(T::kind_info(), object.metadata);
}

class EventRecorder {
 public:
  // `component` is the source shown by kubectl ("deployment-controller"), `host` the node it runs on, if that matters.
  EventRecorder(base::Runtime& runtime, Client& client);
  ~EventRecorder();

  struct Source {
    std::string component, host;
  };
  void record(Source source, core::ObjectReference about, std::string_view type, std::string_view reason, std::string message);

  template <class T>
  void normal(const std::string& component, const T& object, std::string_view reason, std::string message) {
    record({component, {}}, reference_to(object), "Normal", reason, std::move(message));
  }
  template <class T>
  void warning(const std::string& component, const T& object, std::string_view reason, std::string message) {
    record({component, {}}, reference_to(object), "Warning", reason, std::move(message));
  }

  void start();
  Task<> stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace api
