#include "word_index.h"

#include <algorithm>

namespace example {
namespace {

// SplitMix64: the same text everywhere, without a generator's state.
std::uint64_t mix(std::uint64_t value) {
  value += 0x9e3779b97f4a7c15ULL;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
  return value ^ (value >> 31);
}

constexpr std::uint64_t kDistinctWords = 50'000;
constexpr std::size_t kShortest = 3;
constexpr std::size_t kLengths = 10;
constexpr std::uint64_t kLetters = 26;

}  // namespace

std::string word(std::uint64_t number) {
  const std::uint64_t shape = mix(number);
  std::string letters(kShortest + shape % kLengths, ' ');
  std::uint64_t bits = mix(shape);
  for (char& letter : letters) {
    letter = static_cast<char>('a' + bits % kLetters);
    bits /= kLetters;
  }
  return letters;
}

void WordIndex::build(std::size_t words) {
  for (std::size_t i = 0; i < words; ++i) {
    add(word(mix(i) % kDistinctWords));
  }
}

std::vector<std::uint32_t> WordIndex::find(std::string_view word) const {
  const auto found = places_.find(std::string(word));
  return found == places_.end() ? std::vector<std::uint32_t>{} : found->second;
}

std::vector<std::string> WordIndex::complete(std::string_view beginning, std::size_t limit) const {
  std::vector<std::string> words;
  for (const auto& [word, places] : places_) {
    if (word.starts_with(beginning)) {
      words.push_back(word);
    }
  }
  std::sort(words.begin(), words.end());
  words.resize(std::min(words.size(), limit));
  return words;
}

void WordIndex::add(std::string_view word) {
  places_[std::string(word)].push_back(static_cast<std::uint32_t>(length_++));
}

std::size_t WordIndex::erase(std::string_view word) {
  const auto found = places_.find(std::string(word));
  if (found == places_.end()) {
    return 0;
  }
  const std::size_t count = found->second.size();
  places_.erase(found);
  return count;
}

void WordIndex::clear() {
  places_.clear();
  length_ = 0;
}

}  // namespace example
