#include "cli/machines/copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "cli/machines/copy_paths.h"
#include "session/ended.h"

namespace spore::cli::machines {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxComplaint = 4096;
constexpr int kProbeLink = 10;
constexpr int kProbeDirectory = 11;
constexpr int kProbeFile = 12;
constexpr int kProbeMissing = 13;
constexpr std::string_view kProbe =
    "if [ -L \"$1\" ] && [ \"$2\" = keep ]; then exit 10; elif [ -d \"$1\" ]; then exit 11; "
    "elif [ -e \"$1\" ] || [ -L \"$1\" ]; then exit 12; else exit 13; fi";

// How a helper in the guest ended, and what it said about that.
struct HelperEnd {
  std::optional<Exited> exited;
  std::string why;
};

// The output of a helper: standard output to `take`, the rest kept for an Error.
class HelperOutput {
 public:
  explicit HelperOutput(Process& process) : process_(process) {}

  // The next part of standard output; nullopt when it is over.
  std::optional<std::string> next() {
    while (auto event = process_.next_event(std::nullopt)) {
      if (auto* output = std::get_if<Output>(&*event)) {
        if (output->stream == OutputStream::kStdout) {
          return std::move(output->data);
        }
        complaint_.append(output->data, 0,
                          kMaxComplaint - std::min(kMaxComplaint, complaint_.size()));
      } else if (const auto* exited = std::get_if<Exited>(&*event)) {
        end_ = {*exited, complaint_};
        break;
      } else if (const auto* lost = std::get_if<Lost>(&*event)) {
        end_ = {std::nullopt, session::describe_end(lost->end)};
        break;
      }
    }
    over_ = true;
    return std::nullopt;
  }

  [[nodiscard]] bool over() const noexcept { return over_; }

  HelperEnd drain() {
    while (next()) {
    }
    return end_;
  }

 private:
  Process& process_;
  std::string complaint_;
  HelperEnd end_;
  bool over_ = false;
};

// What a guest said is shown on a terminal.
std::string on_one_line(std::string text) {
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

Result<void> check_end(const HelperEnd& end, std::string_view attempted) {
  if (!end.exited) {
    return fail(ErrorCode::kMachineEnded, fmt::format("{}: {}", attempted, end.why));
  }
  if (end.exited->status() != 0) {
    return fail(
        ErrorCode::kInternal,
        fmt::format("{}: the guest's tar ended with status {}{}{}", attempted, end.exited->status(),
                    end.why.empty() ? "" : ": ", on_one_line(end.why)));
  }
  return {};
}

Result<std::shared_ptr<Process>> start_helper(const StartProcess& start,
                                              std::vector<std::string> argv,
                                              std::string_view attempted) {
  ExecRequest request;
  request.argv = std::move(argv);
  auto process = start(request);
  if (!process && process.error().code() == ErrorCode::kNotFound) {
    return fail(ErrorCode::kUnavailable,
                fmt::format("{}: the guest has no {}, which copying needs; boot it with an image "
                            "that has it",
                            attempted, request.argv.front()));
  }
  if (!process) {
    return fail(process.error().with_context(attempted));
  }
  return process;
}

// What there is at a path in the guest: one of the kProbe values. A link is told as one only if
// `keep_link`.
Result<int> probe(const StartProcess& start, const std::string& path, bool keep_link) {
  const std::string attempted = fmt::format("looking at {} in the guest", path);
  SPORE_ASSIGN(const auto process, start_helper(start,
                                                {"sh", "-c", std::string(kProbe), "sh", path,
                                                 keep_link ? "keep" : "follow"},
                                                attempted));
  static_cast<void>(process->close_stdin());
  const HelperEnd end = HelperOutput(*process).drain();
  const int status = end.exited ? end.exited->status() : 0;
  if (end.exited && (status < kProbeLink || status > kProbeMissing)) {
    return fail(ErrorCode::kInternal, fmt::format("{}: the guest's sh ended with status {}: {}",
                                                  attempted, status, on_one_line(end.why)));
  }
  if (!end.exited) {
    return fail(ErrorCode::kMachineEnded, fmt::format("{}: {}", attempted, end.why));
  }
  return status;
}

PathKind kind_of_probe(int probed) {
  switch (probed) {
    case kProbeDirectory:
      return PathKind::kDirectory;
    case kProbeLink:
    case kProbeFile:
      return PathKind::kFile;
    default:
      return PathKind::kMissing;
  }
}

PathKind kind_on_host(const fs::path& path) {
  std::error_code error;
  const auto type = fs::status(path, error).type();
  return type == fs::file_type::directory                                  ? PathKind::kDirectory
         : type == fs::file_type::not_found || type == fs::file_type::none ? PathKind::kMissing
                                                                           : PathKind::kFile;
}

std::string parent_of(const std::string& path) {
  return fs::path(path).parent_path().string();
}

std::string here() {
  std::error_code error;
  return fs::current_path(error).string();
}

Result<CopyPlan> plan_to_guest(const StartProcess& start, const CopySource& source,
                               const std::string& path) {
  CopyTarget target{path, "/", "in the machine", PathKind::kMissing, PathKind::kDirectory};
  const std::string clean = clean_path(path, "/");
  SPORE_ASSIGN(const int probed, probe(start, clean, false));
  target.kind = kind_of_probe(probed);
  if (target.kind == PathKind::kMissing) {
    SPORE_ASSIGN(const int parent, probe(start, parent_of(clean), false));
    target.parent = kind_of_probe(parent);
  }
  return plan_copy(source, target);
}

}  // namespace

Result<CopyCount> copy_to_guest(const StartProcess& start, const std::string& source,
                                const std::string& target) {
  const std::string base = here();
  const std::string from = clean_path(source, base);
  const std::string attempted = fmt::format("copying {} into the machine", source);
  std::error_code error;
  const bool follow = source.ends_with('/') || source.ends_with("/.") || source == ".";
  const auto type = (follow ? fs::status(from, error) : fs::symlink_status(from, error)).type();
  if (type == fs::file_type::not_found || type == fs::file_type::none) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: there is no {}", attempted, from));
  }
  const CopySource what{source, base, type == fs::file_type::directory};
  SPORE_ASSIGN(const CopyPlan plan, plan_to_guest(start, what, target));
  SPORE_ASSIGN(
      const auto process,
      start_helper(start, {"tar", "-x", "-p", "-f", "-", "-C", plan.directory}, attempted));
  HelperEnd end;
  std::thread listener([&] { end = HelperOutput(*process).drain(); });
  bool refused = false;
  auto packed = pack_tar(from, plan.name, follow, [&](std::string_view bytes) {
    auto written = process->write_stdin(bytes);
    refused = !written;
    return written;
  });
  if (packed) {
    static_cast<void>(process->close_stdin());
  } else if (!refused) {
    static_cast<void>(process->signal(SIGKILL));  // or it would take what came for all
  }
  listener.join();
  if (!packed && !refused) {
    return packed;
  }
  SPORE_TRY(check_end(end, attempted));  // what tar says tells more than that it takes no more
  return packed;
}

Result<CopyCount> copy_from_guest(const StartProcess& start, const std::string& source,
                                  const std::string& target) {
  const std::string attempted = fmt::format("copying {} out of the machine", source);
  const std::string from = clean_path(source, "/");
  const bool follow = source.ends_with('/') || source.ends_with("/.") || source == ".";
  SPORE_ASSIGN(const int probed, probe(start, from, !follow));
  if (probed == kProbeMissing) {
    return fail(ErrorCode::kNotFound, fmt::format("{}: the guest has no {}", attempted, from));
  }
  const bool is_directory = probed == kProbeDirectory;
  const std::string base = here();
  const std::string to = clean_path(target, base);
  SPORE_ASSIGN(const CopyPlan plan, plan_copy({source, "/", is_directory},
                                              {target, base, "on this host", kind_on_host(to),
                                               kind_on_host(parent_of(to))}));
  const std::string member = is_directory ? "." : "./" + fs::path(from).filename().string();
  SPORE_ASSIGN(const auto process, start_helper(start,
                                                {"tar", "-c", "-f", "-", "-C",
                                                 is_directory ? from : parent_of(from), member},
                                                attempted));
  static_cast<void>(process->close_stdin());
  HelperOutput output(*process);
  std::string part;
  auto unpacked = unpack_tar(
      [&]() -> Result<std::string_view> {
        do {
          auto next = output.next();
          if (!next) {
            return std::string_view();
          }
          part = std::move(*next);
        } while (part.empty());
        return std::string_view(part);
      },
      member, plan.directory, plan.name);
  if (!unpacked && !output.over()) {
    static_cast<void>(process->signal(SIGKILL));
    output.drain();
    return unpacked;
  }
  // A tar that ended early makes a stream that ends early: the cause tells more.
  SPORE_TRY(check_end(output.drain(), attempted));
  return unpacked;
}

}  // namespace spore::cli::machines
