#include "api/quantity.h"

#include <catch2/catch.hpp>

using api::Quantity;

TEST_CASE("quantities have one canonical text") {
  auto [in, out] = GENERATE(table<const char*, const char*>({
      {"0", "0"}, {"0Gi", "0"}, {"1", "1"}, {"1000", "1k"}, {"1500", "1500"}, {"0.5", "500m"}, {"1000m", "1"}, {"1500m", "1500m"}, {"100m", "100m"},
      {"1Ki", "1Ki"}, {"1024", "1024"}, {"1024Ki", "1Mi"}, {"1.5Gi", "1536Mi"}, {"0.5Gi", "512Mi"}, {"0.5Ki", "512"}, {"1e3", "1e3"}, {"12e6", "12e6"},
      {"1E", "1E"}, {"64Mi", "64Mi"}, {"1.1Ki", "1126400m"}, {"-5m", "-5m"}, {"+2", "2"}, {".5", "500m"}, {"5.", "5"}, {"0.0000000001", "1n"},
      {"8Ei", "9223372036854775807"}, {"1000000", "1M"}, {"123456789Gi", "123456789Gi"}, {"100k", "100k"}, {"2000k", "2M"}, {"1e-3", "1e-3"},
  }));
  auto q = Quantity::parse(in);
  REQUIRE(q);
  INFO(in);
  CHECK(q->to_string() == out);
}

TEST_CASE("malformed quantities are refused") {
  const char* text = GENERATE("", "x", "1x", "1.2.3", "1 Gi", "Gi", "--1", "1KI", "1e", "e3", ".");
  INFO(text);
  CHECK_FALSE(Quantity::parse(text));
}

TEST_CASE("quantities compare, add and round up") {
  CHECK(Quantity::of("1000m") == Quantity::of("1"));
  CHECK(Quantity::of("1Gi") > Quantity::of("1G"));
  CHECK((Quantity::of("100m") + Quantity::of("0.9")).to_string() == "1");
  CHECK((Quantity::of("1Gi") - Quantity::of("512Mi")).to_string() == "512Mi");
  CHECK(Quantity::of("1m").value() == 1);
  CHECK(Quantity::of("100m").milli_value() == 100);
  CHECK(Quantity::of("1n").milli_value() == 1);
  CHECK(Quantity::of("2").milli_value() == 2000);
  CHECK(Quantity::of_milli(250).to_string() == "250m");
  CHECK(Quantity::of_value(1 << 20, Quantity::Format::binary_si).to_string() == "1Mi");
}

TEST_CASE("percentages scale up or down") {
  CHECK(*api::scaled_value(api::IntOrString::of("25%"), 10, true) == 3);
  CHECK(*api::scaled_value(api::IntOrString::of("25%"), 10, false) == 2);
  CHECK(*api::scaled_value(api::IntOrString::of(4), 10, false) == 4);
  CHECK_FALSE(api::scaled_value(api::IntOrString::of("x"), 10, false));
}
