#include "runtime/container/spec.h"

#include <csignal>
#include <cstdlib>
#include <string_view>

namespace runtime {

namespace {

bool is_number(std::string_view text) { return !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == text.npos; }

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return out;
}

struct Named {
  std::string_view name;
  int number;
};

constexpr Named kSignals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ILL", SIGILL},       {"TRAP", SIGTRAP}, {"ABRT", SIGABRT},
    {"IOT", SIGABRT},  {"BUS", SIGBUS},   {"FPE", SIGFPE},   {"KILL", SIGKILL},     {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},
    {"USR2", SIGUSR2}, {"PIPE", SIGPIPE}, {"ALRM", SIGALRM}, {"TERM", SIGTERM},     {"STKFLT", 16},    {"CHLD", SIGCHLD},
    {"CLD", SIGCHLD},  {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},     {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},
    {"URG", SIGURG},   {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH},
    {"IO", SIGIO},     {"POLL", SIGIO},   {"PWR", SIGPWR},   {"SYS", SIGSYS},
};

constexpr std::string_view kCapabilities[] = {
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
    "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
    "PERFMON", "BPF", "CHECKPOINT_RESTORE"};

}  // namespace

std::optional<int> parse_signal(std::string_view text) {
  if (is_number(text)) {
    int n = std::atoi(std::string(text).c_str());
    if (n < 1 || n > 64) return std::nullopt;
    return n;
  }
  std::string name = upper(text);
  if (name.starts_with("SIG")) name.erase(0, 3);
  for (const auto& s : kSignals) {
    if (s.name == name) return s.number;
  }
  // 34 and 64: the range applications see; libc keeps 32 and 33.
  if (name == "RTMIN") return 34;
  if (name == "RTMAX") return 64;
  if (name.starts_with("RTMIN+") && is_number(std::string_view(name).substr(6))) {
    int n = 34 + std::atoi(name.c_str() + 6);
    if (n <= 64) return n;
  }
  if (name.starts_with("RTMAX-") && is_number(std::string_view(name).substr(6))) {
    int n = 64 - std::atoi(name.c_str() + 6);
    if (n >= 34) return n;
  }
  return std::nullopt;
}

std::optional<int> parse_capability(std::string_view text) {
  std::string name = upper(text);
  if (name.starts_with("CAP_")) name.erase(0, 4);
  for (size_t i = 0; i < std::size(kCapabilities); ++i) {
    if (kCapabilities[i] == name) return static_cast<int>(i);
  }
  return std::nullopt;
}

}  // namespace runtime
