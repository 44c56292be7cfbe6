#include "warm_start.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "gtest_runner/reports/output_file.h"

namespace spore::gtest_runner {
namespace {

using Json = nlohmann::json;

struct TextField {
  const char* name;
  std::string StartNotes::*value;
};
constexpr TextField kTexts[] = {
    {"framework", &StartNotes::framework}, {"help", &StartNotes::help},
    {"list", &StartNotes::list},           {"suites", &StartNotes::suites},
    {"listing", &StartNotes::listing},     {"setup_output", &StartNotes::setup_output},
    {"errors", &StartNotes::errors},       {"printed", &StartNotes::printed}};
constexpr const char* kInherited = "inherited";
constexpr const char* kProfiled = "profiled";

// What is long, or secret, is told by its digest.
std::string digest_of(const std::vector<std::string>& texts) {
  KeptParts parts;
  for (const std::string& text : texts) {
    parts[fmt::format("{:09}", parts.size())] = text;
  }
  return kept_digest(parts);
}

}  // namespace

// CBOR: what programs print need not be text.
std::string encode(const StartNotes& notes) {
  Json json = {{kInherited, notes.inherited}, {kProfiled, notes.is_profiled}};
  for (const TextField& field : kTexts) {
    const std::string& text = notes.*field.value;
    json[field.name] = Json::binary({text.begin(), text.end()});
  }
  const std::vector<std::uint8_t> bytes = Json::to_cbor(json);
  return {bytes.begin(), bytes.end()};
}

std::optional<StartNotes> decode_start_notes(std::string_view bytes) {
  Json json;
  try {  // sizes that cannot be are thrown even where no exceptions are allowed
    json = Json::from_cbor(bytes.begin(), bytes.end());
  } catch (const Json::exception&) {
    return std::nullopt;
  }
  if (!json.is_object() || !json.contains(kInherited) || !json[kInherited].is_number_unsigned()) {
    return std::nullopt;
  }
  const auto profiled = json.find(kProfiled);
  if (profiled == json.end() || !profiled->is_boolean()) {
    return std::nullopt;
  }
  StartNotes notes;
  notes.is_profiled = profiled->get<bool>();
  notes.inherited = json[kInherited].get<std::uint32_t>();
  for (const TextField& field : kTexts) {
    const auto found = json.find(field.name);
    if (found == json.end() || !found->is_binary()) {
      return std::nullopt;
    }
    notes.*field.value = std::string(found->get_binary().begin(), found->get_binary().end());
  }
  return notes;
}

KeptParts start_key(const Options& options, const Program& program, const std::string& day) {
  const GtestFlags& gtest = options.gtest;
  KeptParts parts = {
      {"the program", program.path},
      {"memory", std::to_string(options.memory_mib)},
      {"CPUs", std::to_string(options.cpus)},
      {"the working directory", options.workdir},
      {"--setup", digest_of({options.setup})},
      {"the program's arguments", digest_of(gtest.rest)},
      {"--framework", std::string(options.framework ? name_of(*options.framework) : "auto")},
      {"the day", day}};
  for (const auto* variables : {&gtest.env, &options.env}) {
    for (const auto& [name, value] : *variables) {
      parts["the environment variable " + name] = digest_of({value});
    }
  }
  const auto output = resolve_output(gtest.output, program.path);
  parts["the report's format"] = output ? output->format : "none";
  if (program.has_fixture_point) {  // these flags are given to it before that
    if (gtest.shuffle && gtest.random_seed == 0) {
      return {};
    }
    parts["the seed of --gtest_shuffle"] = gtest.shuffle ? std::to_string(gtest.random_seed) : "";
    parts["--gtest_also_run_disabled_tests"] = gtest.also_run_disabled_tests ? "yes" : "no";
  }
  return parts;
}

std::vector<std::string> changed_parts(const KeptParts& before, const KeptParts& now) {
  KeptParts all = before;
  all.insert(now.begin(), now.end());
  std::vector<std::string> names;
  for (const auto& [name, value] : all) {
    const auto was = before.find(name);
    const auto is = now.find(name);
    if (was == before.end() || is == now.end() || was->second != is->second) {
      names.push_back(name);
    }
  }
  return names;
}

std::string shortened(const std::vector<std::string>& names) {
  constexpr std::size_t kMostNamed = 4;
  const auto shown = std::min(names.size(), kMostNamed);
  std::string text = fmt::format("{}", fmt::join(std::span(names).first(shown), ", "));
  return names.size() > shown ? fmt::format("{} and {} more", text, names.size() - shown) : text;
}

std::string start_label(const Program& program) {
  return "spore-test " + program.path;
}

}  // namespace spore::gtest_runner
