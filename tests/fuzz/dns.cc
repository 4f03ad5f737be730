// DNS queries of pods and answers of upstreams.
#include "fuzz.h"
#include "network/dns/message.h"

using namespace std::string_view_literals;

const std::vector<std::string_view> fuzz::seeds = {
    "\x12\x34\1\0\0\1\0\0\0\0\0\1\3www\7example\3COM\0\0\1\0\1\0\0\x29\4\xd0\0\0\x80\0\0\0"sv,
    "\x12\x34\x81\x80\0\1\0\2\0\1\0\0\3www\7example\3com\0\0\1\0\1\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1a\xc0\x10\xc0\x2d\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4\xc0\x10\0\2\0\1\0\0\0\x3c\0\2\xc0\x0c"sv};

void fuzz::one(std::string_view input) {
  network::dns::Query query;
  const bool passed = network::dns::parse_query(input, query) == network::dns::Gate::pass;
  if (passed) (void)network::dns::wire_name(network::dns::dotted_name(query.wire_name()));
  network::dns::Answer answer;
  if (network::dns::parse_answer(input, answer)) {
    std::string packet = network::dns::make_query(7, answer.name, answer.type, true, false);
    network::dns::Query asked;
    require(network::dns::parse_query(packet, asked) == network::dns::Gate::pass);
    for (size_t limit : {size_t{512}, network::dns::kMaxMessage}) {
      std::vector<char> buffer(limit);
      network::dns::Writer writer(buffer.data(), limit);
      network::dns::Reply reply(asked, writer);
      network::dns::put_records(reply, answer, 5);
      require(reply.finish(limit == 512).size() <= limit);
    }
  }
}
