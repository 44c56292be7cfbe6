#include "image/base_system.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "image/files.h"

namespace spore::image {
namespace {

constexpr std::uint64_t kMaxPasswdBytes = 16 * 1024 * 1024;

constexpr std::string_view kProgramDirectories[] = {"/usr/bin", "/bin", "/usr/sbin", "/sbin"};
constexpr std::string_view kPrograms[] = {
    // Shells.
    "sh", "dash", "bash",
    // coreutils.
    "[", "arch", "b2sum", "base32", "base64", "basename", "cat", "chgrp", "chmod", "chown",
    "chroot", "cksum", "comm", "cp", "csplit", "cut", "date", "dd", "df", "dir", "dircolors",
    "dirname", "du", "echo", "env", "expand", "expr", "factor", "false", "fmt", "fold", "groups",
    "head", "hostid", "id", "install", "join", "link", "ln", "logname", "ls", "md5sum", "mkdir",
    "mkfifo", "mknod", "mktemp", "mv", "nice", "nl", "nohup", "nproc", "numfmt", "od", "paste",
    "pathchk", "pr", "printenv", "printf", "pwd", "readlink", "realpath", "rm", "rmdir", "seq",
    "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum", "shred", "shuf", "sleep", "sort",
    "split", "stat", "stdbuf", "stty", "sum", "sync", "tac", "tail", "tee", "test", "timeout",
    "touch", "tr", "true", "truncate", "tsort", "tty", "uname", "unexpand", "uniq", "unlink",
    "users", "vdir", "wc", "who", "whoami", "yes",
    // Text, archives, files.
    "grep", "egrep", "fgrep", "sed", "awk", "mawk", "diff", "cmp", "tar", "gzip", "gunzip", "zcat",
    "find", "xargs", "which", "locale", "getent", "iconv",
    // procps.
    "ps", "free", "kill", "pgrep", "pkill", "pidof", "sysctl", "uptime", "vmstat",
    // util-linux, hostname, iproute2.
    "mount", "umount", "setsid", "su", "runuser", "setpriv", "dmesg", "findmnt", "flock", "lsblk",
    "more", "mountpoint", "nsenter", "prlimit", "taskset", "unshare", "hostname", "ip", "ldconfig"};

constexpr std::string_view kFiles[] = {"/etc/passwd",
                                       "/etc/group",
                                       "/etc/hosts",
                                       "/etc/host.conf",
                                       "/etc/nsswitch.conf",
                                       "/etc/services",
                                       "/etc/protocols",
                                       "/etc/resolv.conf",
                                       "/etc/localtime",
                                       "/etc/timezone",
                                       "/etc/os-release",
                                       "/etc/debian_version",
                                       "/etc/login.defs",
                                       "/etc/shells",
                                       "/etc/profile",
                                       "/etc/bash.bashrc",
                                       "/etc/environment",
                                       "/etc/gai.conf",
                                       "/etc/pam.d",
                                       "/etc/pam.conf",
                                       "/etc/security",
                                       "/etc/default/locale",
                                       "/etc/alternatives/awk",
                                       "/etc/alternatives/which",
                                       "/usr/lib/locale/C.utf8",
                                       "/lib/terminfo",
                                       "/usr/share/terminfo/x",
                                       "/usr/share/tabset",
                                       "/usr/share/zoneinfo/UTC",
                                       "/usr/share/zoneinfo/Etc",
                                       "/etc/terminfo"};

// Loaded by name at run time: the closure does not see them.
constexpr std::string_view kPlugins[] = {"libnss_files.so.2",  "libnss_dns.so.2",
                                         "libnss_compat.so.2", "libnss_hesiod.so.2",
                                         "libgcc_s.so.1",      "libresolv.so.2"};
constexpr std::string_view kLibraryDirectories[] = {
    "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"};

bool is_there(const std::string& path) {
  return ::access(path.c_str(), R_OK) == 0;
}

Result<void> add_programs(Closure& closure) {
  for (const std::string_view name : kPrograms) {
    for (const std::string_view directory : kProgramDirectories) {
      const std::string path = fmt::format("{}/{}", directory, name);
      if (is_there(path)) {
        SPORE_TRY(closure.add_program(path));
        break;
      }
    }
  }
  return {};
}

Result<void> add_plugins(Tree& tree, Closure& closure) {
  for (const std::string_view directory : kLibraryDirectories) {
    for (const std::string_view name : kPlugins) {
      const std::string path = fmt::format("{}/{}", directory, name);
      if (is_there(path)) {
        SPORE_TRY(tree.add(path));
        closure.add_library(path);
      }
    }
    SPORE_TRY(tree.add_if_there(fmt::format("{}/gconv", directory)));
    const std::string pam = fmt::format("{}/security", directory);
    SPORE_TRY(tree.add_if_there(pam));
    const std::string prefix = pam.substr(1) + "/";
    for (auto at = tree.entries().lower_bound(prefix);
         at != tree.entries().end() && at->first.starts_with(prefix); ++at) {
      closure.add_library(at->second.source);
    }
  }
  return {};
}

// su and runuser ask PAM, which asks for each user's line. The host's own is secret; a line with no
// valid password says all that is needed.
void add_locked_shadow(Tree& tree) {
  const auto passwd = read_file("/etc/passwd", kMaxPasswdBytes);
  if (!passwd) {
    return;
  }
  std::string shadow;
  for (std::size_t at = 0; at < passwd->size();) {
    const std::size_t end = std::min(passwd->find('\n', at), passwd->size());
    const std::string_view line = std::string_view(*passwd).substr(at, end - at);
    at = end + 1;
    if (const auto colon = line.find(':'); colon != std::string_view::npos && colon > 0) {
      shadow += fmt::format("{}:*:19000:0:99999:7:::\n", line.substr(0, colon));
    }
  }
  tree.make_file("/etc/shadow", 0600, std::move(shadow));
}

}  // namespace

Result<void> add_loader_files(Tree& tree) {
  for (const char* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    struct stat status {};
    if (::lstat(path, &status) == 0 && S_ISLNK(status.st_mode)) {
      SPORE_TRY(tree.add_shallow(path));
    }
  }
  for (const char* path : {"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"}) {
    SPORE_TRY(tree.add_if_there(path));
  }
  return {};
}

Result<void> add_base_system(Tree& tree, Closure& closure) {
  SPORE_TRY(add_programs(closure));
  for (const std::string_view path : kFiles) {
    SPORE_TRY(tree.add_if_there(std::string(path)));
  }
  SPORE_TRY(add_plugins(tree, closure));
  for (const char* path : {"/tmp", "/var/tmp"}) {
    if (std::string_view(path) == "/var/tmp") {
      tree.make_directory("/var", 0755);
    }
    tree.make_directory(path, 01777);
  }
  tree.make_directory("/root", 0700);
  for (const char* path : {"/proc", "/sys", "/dev", "/run", "/home", "/mnt", "/opt", "/srv",
                           "/var/lib", "/var/log", "/var/cache"}) {
    tree.make_directory(path, 0755);
  }
  add_locked_shadow(tree);
  return {};
}

}  // namespace spore::image
