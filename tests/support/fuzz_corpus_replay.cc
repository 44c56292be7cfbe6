// Replays a fuzz target on its kept inputs (SPORE_FUZZ_CORPUS), on their beginnings, and on changes
// of them that are the same every time, as an ordinary test.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(std::string_view input) {
  // Exactly as long as it is, so that a sanitizer sees who reads on.
  const std::vector<std::uint8_t> bytes(input.begin(), input.end());
  ASSERT_EQ(LLVMFuzzerTestOneInput(bytes.data(), bytes.size()), 0);
}

std::vector<std::string> corpus() {
  std::vector<std::string> inputs;
  for (const auto& entry : std::filesystem::directory_iterator(SPORE_FUZZ_CORPUS)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::sort(inputs.begin(), inputs.end());  // a directory has no order of its own
  return inputs;
}

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& others) : others_(others) {}

  void change(std::string& text) {
    if (text.empty()) {
      text = "0";
    }
    const std::size_t at = below(text.size());
    const std::size_t count = below(std::min<std::size_t>(text.size() - at, 40)) + 1;
    switch (below(10)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ 1 << below(8));
        break;
      case 1:
        text[at] = static_cast<char>(below(256));
        break;
      case 2:
        text.erase(at, count);
        break;
      case 3:
        text.insert(at, text.substr(below(text.size()), count));
        break;
      case 4: {
        const std::string& other = others_[below(others_.size())];
        if (!other.empty()) {
          text.replace(at, count, other.substr(below(other.size()), count));
        }
        break;
      }
      default:
        change_number(text, at);
    }
  }
  // The next one from `at` on: documents mostly consist of them, and stay documents.
  void change_number(std::string& text, std::size_t at) {
    constexpr const char* kDigits = "0123456789";
    const std::size_t first = text.find_first_of(kDigits, at);
    if (first == std::string::npos) {
      return;
    }
    const std::size_t end = std::min(text.find_first_not_of(kDigits, first), text.size());
    if (below(2) == 0) {
      text.replace(first, end - first, kTokens[below(kTokens.size())]);
    } else {
      text[first + below(end - first)] = static_cast<char>('0' + below(10));
    }
  }
  std::size_t below(std::size_t bound) { return random_() % bound; }

 private:
  static constexpr std::array<std::string_view, 15> kTokens = {
      "0",     "1",     "2",          "15",         "255",
      "65535", "65536", "4294967295", "4294967296", "18446744073709551615",
      "-1",    "null",  "true",       "[]",         "\"\""};
  const std::vector<std::string>& others_;
  std::mt19937_64 random_{20261121};  // NOLINT: the same every time
};

TEST(FuzzReplay, Corpus) {
  const auto inputs = corpus();
  ASSERT_FALSE(inputs.empty());
  run("");
  for (const std::string& input : inputs) {
    run(input);
    const std::size_t step = input.size() / 100 + 1;
    for (std::size_t size = 0; size < input.size(); size += step) {
      run(std::string_view(input).substr(0, size));
    }
  }
}

TEST(FuzzReplay, ChangedCorpus) {
  const auto inputs = corpus();
  ASSERT_FALSE(inputs.empty());
  Mutator mutator(inputs);
  for (int round = 0; round < 1500; ++round) {
    std::string input = inputs[mutator.below(inputs.size())];
    for (std::size_t changes = mutator.below(3) + 1; changes > 0; --changes) {
      mutator.change(input);
    }
    SCOPED_TRACE(round);
    run(input);
  }
}

}  // namespace
