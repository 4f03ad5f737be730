// JSON texts, as request bodies come.
#include "api/prune.h"
#include "base/json.h"
#include "fuzz.h"
#include "same.h"

const std::vector<std::string_view> fuzz::seeds = {R"({"a":[1,-2.5e3,true,null,"\u00e9\ud83d\ude00"],"a":{}})",
                                                   R"([[[[{"x":18446744073709551615}]]]])", "\"\\ud800\""};

void fuzz::one(std::string_view input) {
  std::vector<std::string> problems;
  (void)api::parse_json_strictly(input, problems);
  auto v = base::parse_json(input, 64);
  if (!v) return;
  auto again = base::parse_json(base::to_text(*v), 64);
  require(again && same(*v, *again));
}
