#include <catch2/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <fstream>

#include "agent/endpoints/log_options.h"
#include "agent/pods/log_file.h"
#include "base/files.h"

using namespace agent;

namespace {

struct Directory {
  std::string path;
  Directory() {
    char name[] = "/tmp/unit_agent_log_XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Directory() { (void)base::remove_all(path); }
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(path + "/" + name) << text;
    return path + "/" + name;
  }
};

const std::string kLog =
    "2026-01-01T00:00:01.000000000Z stdout F one\n"
    "2026-01-01T00:00:02.000000000Z stderr F two\n"
    "2026-01-01T00:00:03.000000000Z stdout P thr\n"
    "2026-01-01T00:00:03.500000000Z stdout F ee\n"
    "2026-01-01T00:00:04.000000000Z stdout F \n"
    "2026-01-01T00:00:05.000000000Z stdout F five\n";

std::string tail(const std::string& path, uint64_t lines) {
  base::Fd fd(::open(path.c_str(), O_RDONLY));
  std::string text = *base::read_file(path);
  auto from = tail_offset(fd.get(), text.size(), lines);
  LogState state;
  std::string out;
  format_log(text.substr(*from), {}, state, out);
  return out;
}

}  // namespace

TEST_CASE("CRI lines are parsed, and malformed ones are not") {
  auto e = parse_log_line("2026-01-01T00:00:01.000000000Z stderr P some text here");
  REQUIRE(e);
  CHECK(e->err);
  CHECK(e->partial);
  CHECK(e->text == "some text here");
  CHECK(parse_log_line("2026-01-01T00:00:01Z stdout F")->text.empty());
  for (const char* bad : {"", "x", "t stdin F x", "t stdout X y", "t stdout"}) CHECK_FALSE(parse_log_line(bad));
}

TEST_CASE("entries become the client's text") {
  LogOptions o;
  LogState state;
  std::string out;
  format_log(kLog, o, state, out);
  CHECK(out == "one\ntwo\nthree\n\nfive\n");
  out.clear();
  o.timestamps = true;
  o.since = "2026-01-01T00:00:03.000000000Z";
  format_log(kLog, o, state, out);
  CHECK(out == "2026-01-01T00:00:03.000000000Z three\n2026-01-01T00:00:04.000000000Z \n2026-01-01T00:00:05.000000000Z five\n");
  out.clear();
  LogOptions only_err;
  only_err.out = false;
  format_log(kLog, only_err, state, out);
  CHECK(out == "two\n");
}

TEST_CASE("the last lines of a log, partial entries counted as one line") {
  Directory d;
  std::string f = d.file("0.log", kLog);
  CHECK(tail(f, 0) == "");
  CHECK(tail(f, 1) == "five\n");
  CHECK(tail(f, 2) == "\nfive\n");
  CHECK(tail(f, 3) == "three\n\nfive\n");
  CHECK(tail(f, 4) == "two\nthree\n\nfive\n");
  CHECK(tail(f, 5) == "one\ntwo\nthree\n\nfive\n");
  CHECK(tail(f, 100) == "one\ntwo\nthree\n\nfive\n");
}

TEST_CASE("the last lines of a log larger than a block") {
  Directory d;
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "2026-01-01T00:00:01.000000000Z stdout F line " + std::to_string(i) + "\n";
  std::string f = d.file("0.log", text);
  CHECK(tail(f, 2) == "line 19998\nline 19999\n");
  std::string many = tail(f, 5000);
  CHECK(many.starts_with("line 15000\n"));
  CHECK(std::count(many.begin(), many.end(), '\n') == 5000);
}

TEST_CASE("a termination message from the log is bounded in lines and bytes") {
  Directory d;
  std::string f = d.file("0.log", kLog);
  CHECK(log_tail(f, 2, 2048) == "\nfive\n");
  CHECK(log_tail(f, 80, 5) == "five\n");
  CHECK(log_tail(d.path + "/none", 80, 5) == "");
}

TEST_CASE("output that ends without a newline is read as it was written") {
  Directory d;
  std::string f = d.file("0.log", std::string(kLog) + "2026-01-01T00:00:06.000000000Z stdout P DONE\n");
  CHECK(log_tail(f, 80, 2048).ends_with("\nfive\nDONE"));
  CHECK(tail(f, 1) == "DONE");
  CHECK(tail(f, 2) == "five\nDONE");
}

TEST_CASE("old instances' logs are removed, rotated files come first") {
  Directory d;
  for (const char* n : {"0.log", "0.log.20260101-000000", "1.log", "2.log", "2.log.20260101-000000", "2.log.20260102-000000", "other"})
    d.file(n, "");
  CHECK(log_generations(d.path + "/2.log") ==
        std::vector<std::string>{d.path + "/2.log.20260101-000000", d.path + "/2.log.20260102-000000", d.path + "/2.log"});
  remove_old_logs(d.path, 1);
  CHECK_FALSE(base::exists(d.path + "/0.log"));
  CHECK_FALSE(base::exists(d.path + "/0.log.20260101-000000"));
  CHECK(base::exists(d.path + "/1.log"));
  CHECK(base::exists(d.path + "/other"));
}

TEST_CASE("log options") {
  auto now = *base::parse_rfc3339("2026-01-01T00:01:00Z");
  auto o = parse_log_options(base::http::Query("follow=true&tailLines=5&sinceSeconds=30&timestamps=1"), now);
  REQUIRE(o);
  CHECK(o->follow);
  CHECK(*o->tail == 5);
  CHECK(o->since == "2026-01-01T00:00:30.000000000Z");
  CHECK_FALSE(parse_log_options(base::http::Query("tailLines=-1"), now));
  CHECK_FALSE(parse_log_options(base::http::Query("limitBytes=0"), now));
  CHECK_FALSE(parse_log_options(base::http::Query("sinceTime=yesterday"), now));
}
