// What a fuzz target is: seeds, and a function that takes any bytes. fuzz.cc has libFuzzer's entry points, which write the seeds into
// the corpus when it is empty.
#pragma once

#include <cstdlib>
#include <string_view>
#include <vector>

namespace fuzz {

// Of the target.
extern const std::vector<std::string_view> seeds;
void one(std::string_view input);

// What must hold whatever the input; a breach counts as a crash.
inline void require(bool holds) {
  if (!holds) std::abort();
}

// The input up to the first byte of value 1, which is taken off it with that byte: for functions of several inputs.
inline std::string_view take(std::string_view& input) {
  size_t end = input.find('\1');
  std::string_view part = input.substr(0, end);
  input = end == input.npos ? std::string_view() : input.substr(end + 1);
  return part;
}

}  // namespace fuzz
