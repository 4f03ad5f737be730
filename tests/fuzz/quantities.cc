// Quantities and what is computed with them: two texts with byte 1 between.
#include "api/quantity.h"
#include "fuzz.h"

const std::vector<std::string_view> fuzz::seeds = {"500m\0011.5Gi", "1e3\001-0.1", "9223372036854775807Ei\001100n", "+1E6\0010.000000001"};

void fuzz::one(std::string_view input) {
  auto a = api::Quantity::parse(take(input)), b = api::Quantity::parse(input);
  if (!a) return;
  auto again = api::Quantity::parse(a->to_string());
  require(again && *again == *a && again->to_string() == a->to_string());
  (void)(a->value() + 0 == a->milli_value());
  (void)a->as_double();
  if (!b) return;
  api::Quantity sum = *a + *b, difference = *a - *b;
  require(api::Quantity::parse(sum.to_string()).has_value() && api::Quantity::parse(difference.to_string()).has_value());
  require((*a < *b) == (*b > *a));
}
