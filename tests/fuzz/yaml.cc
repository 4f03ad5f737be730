// YAML documents, as kubectl and manifest directories bring them.
#include "api/yaml.h"
#include "fuzz.h"
#include "same.h"

const std::vector<std::string_view> fuzz::seeds = {"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    text\n  b: >-\n    folded\n",
                                                   "a: &x [1, 0x1f, 1.5, ~, yes, 'q', \"\\u00e9\"]\nb: *x\n<<: {c: d}\n",
                                                   "---\n- a\n---\n{b: c}\n...\n", "? [k]\n: v\n", "{\"a\":1}{\"b\":2}"};

void fuzz::one(std::string_view input) {
  (void)api::parse_yaml_documents(input);
  auto v = api::parse_yaml(input);
  if (!v) return;
  const std::string text = base::to_text(*v);
  auto json = base::parse_json(text, 70);
  require(json && same(*v, *json));
  constexpr size_t longest_key = 1024;  // what a key without "?" may be, written
  if (text.size() > longest_key) return;
  // Line breaks beyond ASCII (U+0085, U+2028) are written as they are, and not read as they were.
  auto again = api::parse_yaml(api::to_yaml(*v));
  require(again || text.find_first_of("\xc2\xe2") != text.npos);
  if (text.find_first_of("\xc2\xe2") == text.npos) require(same(*v, *again));
}
