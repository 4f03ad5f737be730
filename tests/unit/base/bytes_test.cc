#include <catch2/catch.hpp>

#include "base/bytes.h"

TEST_CASE("base64 round trips every length and refuses foreign characters") {
  std::string s;
  for (int i = 0; i < 70; ++i) {
    CHECK(base::base64_decode(base::base64_encode(s)).value() == s);
    CHECK(base::base64url_decode(base::base64url_encode(s)).value() == s);
    s += static_cast<char>(i * 37);
  }
  CHECK(base::base64_encode("ab") == "YWI=");
  CHECK_FALSE(base::base64_decode("a$b="));
  CHECK_FALSE(base::base64_decode("abc"));
}

TEST_CASE("digests match published vectors") {
  CHECK(base::sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(base::hex_encode(base::hmac_sha256("key", "The quick brown fox jumps over the lazy dog")) ==
        "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8");
}

TEST_CASE("generated suffixes use only the alphabet of Kubernetes names") {
  for (int i = 0; i < 100; ++i) CHECK(base::random_suffix(5).find_first_not_of("bcdfghjklmnpqrstvwxz2456789") == std::string::npos);
  CHECK(base::uuid4().size() == 36);
  CHECK(base::uuid4() != base::uuid4());
}
