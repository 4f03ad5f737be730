#include "server/apiserver/tunnel/proxied_page.h"

#include <algorithm>

namespace server {

namespace {

// Attributes that hold one URL (HTML 4.01 section B.2.1 and HTML 5), each between blanks.
constexpr std::string_view url_attributes =
    " href src action formaction background cite codebase classid data icon longdesc manifest poster profile usemap ";
// "data" and the like mean something else on other elements.
constexpr std::string_view url_elements =
    " a applet area audio base blockquote body button command del embed form frame head html iframe img input ins link object q script "
    "source video ";

bool listed(std::string_view words, std::string_view word) {
  std::string wanted = " ";
  for (char c : word) wanted += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return words.find(wanted += ' ') != words.npos;
}

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool same_word(std::string_view a, std::string_view lower) {
  return std::equal(a.begin(), a.end(), lower.begin(), lower.end(), [](char x, char y) { return (letter(x) ? x | 0x20 : x) == y; });
}

}  // namespace

std::string rewrite_url(std::string_view url, const ProxiedAt& at) {
  std::string_view before, path = url;
  size_t slashes = url.find("//");
  if (slashes == 0 || (slashes != url.npos && url[slashes - 1] == ':' && url.find('/') == slashes)) {
    size_t end = url.find_first_of("/?#", slashes + 2);
    std::string_view host = url.substr(slashes + 2, end == url.npos ? end : end - slashes - 2);
    if (end == url.npos || (host != at.backend && host != at.host)) return std::string(url);
    if (host == at.host) before = url.substr(0, end);
    path = url.substr(end);
  }
  if (!path.starts_with('/')) return std::string(url);
  std::string out(before);
  if (!path.starts_with(at.prefix)) out += at.prefix;
  return out += path;
}

std::string rewrite_links(std::string_view html, const ProxiedAt& at) {
  std::string out;
  size_t copied = 0, i = 0;
  auto until = [&](std::string_view mark) {
    size_t end = html.find(mark, i);
    i = end == html.npos ? html.size() : end + mark.size();
  };
  while ((i = html.find('<', i)) < html.size()) {
    ++i;
    if (html.substr(i).starts_with("!--")) {
      until("-->");
      continue;
    }
    size_t begin = i;
    while (i < html.size() && !blank(html[i]) && html[i] != '>' && html[i] != '/') ++i;
    std::string_view element = html.substr(begin, i - begin);
    if (element.empty() || !letter(element[0])) continue;
    const bool wanted = listed(url_elements, element);
    while (i < html.size() && html[i] != '>') {
      if (blank(html[i]) || html[i] == '/') {
        ++i;
        continue;
      }
      begin = i;
      while (i < html.size() && !blank(html[i]) && html[i] != '=' && html[i] != '>' && html[i] != '/') ++i;
      std::string_view name = html.substr(begin, i - begin);
      if (i == begin) ++i;  // a stray '='
      while (i < html.size() && blank(html[i])) ++i;
      if (i >= html.size() || html[i] != '=') continue;
      ++i;
      while (i < html.size() && blank(html[i])) ++i;
      if (i >= html.size()) break;
      char quote = html[i] == '"' || html[i] == '\'' ? html[i++] : '\0';
      begin = i;
      while (i < html.size() && (quote ? html[i] != quote : !blank(html[i]) && html[i] != '>')) ++i;
      if (wanted && !name.empty() && listed(url_attributes, name)) {
        out += html.substr(copied, begin - copied);
        out += rewrite_url(html.substr(begin, i - begin), at);
        copied = i;
      }
      if (quote && i < html.size()) ++i;
    }
    // What these hold is no HTML.
    for (std::string_view raw : {"script", "style"}) {
      if (!same_word(element, raw)) continue;
      for (; i < html.size(); ++i) {
        if (html[i] == '<' && html.substr(i + 1).starts_with('/') && same_word(html.substr(i + 2, raw.size()), raw)) break;
      }
    }
  }
  out += html.substr(copied);
  return out;
}

}  // namespace server
