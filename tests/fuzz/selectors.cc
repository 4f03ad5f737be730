// Label and field selectors of list requests.
#include "api/selector.h"
#include "fuzz.h"

const std::vector<std::string_view> fuzz::seeds = {"a=b,c!=d,e in (f,g),h notin (i),j,!k,l>5,m<6", "metadata.name=x,status.phase!=Running",
                                                   "x/y==z, !a.b/c_d", "a=\\,b\\=c"};

void fuzz::one(std::string_view input) {
  if (auto labels = api::LabelSelector::parse(input)) {
    auto again = api::LabelSelector::parse(labels->to_string());
    require(again && again->to_string() == labels->to_string());
    const api::Labels some = {{"a", "b"}, {"e", "f"}, {"l", "7"}};
    require(labels->matches(some) == again->matches(some));
  }
  if (auto fields = api::FieldSelector::parse(input)) {
    auto again = api::FieldSelector::parse(fields->to_string());
    require(again && again->to_string() == fields->to_string());
  }
}
