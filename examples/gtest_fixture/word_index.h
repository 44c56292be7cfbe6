// An in-memory index of a text: what tests of a search engine would set up once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace example {

// The word with a number: every number has one, of 3 to 12 letters.
std::string word(std::uint64_t number);

class WordIndex {
 public:
  // Indexes a text of `words` words, the same for everyone.
  void build(std::size_t words);

  // Where the word stands in the text, ascending.
  [[nodiscard]] std::vector<std::uint32_t> find(std::string_view word) const;
  // Words that begin so, in alphabetical order, at most `limit`.
  [[nodiscard]] std::vector<std::string> complete(std::string_view beginning,
                                                  std::size_t limit) const;
  void add(std::string_view word);
  // Forgets the word; how often it stood in the text.
  std::size_t erase(std::string_view word);
  void clear();

  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t distinct() const noexcept { return places_.size(); }

 private:
  std::unordered_map<std::string, std::vector<std::uint32_t>> places_;
  std::size_t length_ = 0;
};

}  // namespace example
