#include "agent/users.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "agent/files.h"

namespace spore::agent {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(end + 1);
  }
}

std::optional<unsigned> number_of(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return value;
}

// name:password:uid:gid:comment:home:shell
std::optional<User> user_of(std::string_view line) {
  const auto fields = split(line, ':');
  if (fields.size() < 6) {
    return std::nullopt;
  }
  const auto uid = number_of(fields[2]);
  const auto gid = number_of(fields[3]);
  if (!uid || !gid) {
    return std::nullopt;
  }
  return User{*uid, *gid, std::string(fields[0]), std::string(fields[5]), {}};
}

// name:password:gid:member,member
void add_groups(User& user, const std::string& etc) {
  user.groups = {user.gid};
  const auto text = read_file(etc + "/group");
  if (!text || user.name.empty()) {
    return;
  }
  for (const auto line : split(*text, '\n')) {
    const auto fields = split(line, ':');
    const auto gid = fields.size() == 4 ? number_of(fields[2]) : std::nullopt;
    if (!gid || *gid == user.gid) {
      continue;
    }
    const auto members = split(fields[3], ',');
    if (std::find(members.begin(), members.end(), user.name) != members.end()) {
      user.groups.push_back(*gid);
    }
  }
}

}  // namespace

Result<User> find_user(std::string_view who, const std::string& etc) {
  const auto wanted_uid = number_of(who);
  const auto text = read_file(etc + "/passwd");
  if (text) {
    for (const auto line : split(*text, '\n')) {
      auto user = user_of(line);
      if (user && (user->name == who || (wanted_uid && user->uid == *wanted_uid))) {
        add_groups(*user, etc);
        return std::move(*user);
      }
    }
  }
  if (!wanted_uid) {
    return fail(ErrorCode::kNotFound, "no user " + std::string(who) +
                                          " in the machine's /etc/passwd; give a name that is in "
                                          "the root image, or a uid");
  }
  User user{*wanted_uid, *wanted_uid, "", *wanted_uid == 0 ? "/root" : "/", {}};
  add_groups(user, etc);
  return user;
}

}  // namespace spore::agent
