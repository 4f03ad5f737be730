// SHA-256 of a stream, and the form "sha256:<64 hex>" in which images name it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace runtime {

class Sha256 {
 public:
  Sha256();
  void update(std::string_view bytes);
  // Once.
  std::string digest();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* c) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

bool is_digest(std::string_view text);           // sha256, lower case
std::string digest_of(std::string_view bytes);

}  // namespace runtime
