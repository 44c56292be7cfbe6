// For the main() of a Catch2 or doctest program that sets up once, and is forked by spore-test:
//
//   int main(int argc, char** argv) {
//     build_the_index();
//     spore_fixture_point(nullptr);
//     spore::TestArguments arguments(argc, argv);  // behind it: each fork is told its own tests
//     return Catch::Session().run(arguments.argc(), arguments.argv());
//   }
//
// (doctest: doctest::Context(arguments.argc(), arguments.argv()).run().) Links libspore_guest.
// Outside of a fork they are what main() was given. C++11.
#pragma once

#include <string>
#include <vector>

#include "spore_guest.h"

// How spore-test tells, from the file alone, that a program reads them; with -Wl,--gc-sections too.
#ifdef __has_attribute
#if __has_attribute(retain)
__attribute__((retain))
#endif
#endif
__attribute__((used)) static const char spore_test_arguments_marker[] = "spore_test_arguments/1";

namespace spore {

class TestArguments {
 public:
  TestArguments(int argc, char** argv) : words_(argv, argv + argc) {
    std::vector<char> text(4096);  // more than a fork's parameters have
    const long length = spore_generation_user("test_arguments", text.data(), text.size());
    if (length > 0) {
      add_lines(text.data());
    }
    for (std::string& word : words_) {
      pointers_.push_back(&word[0]);
    }
    pointers_.push_back(nullptr);
  }
  TestArguments(const TestArguments&) = delete;
  TestArguments& operator=(const TestArguments&) = delete;

  int argc() const { return static_cast<int>(words_.size()); }
  char** argv() { return pointers_.data(); }

 private:
  void add_lines(const std::string& text) {
    for (std::string::size_type begin = 0; begin <= text.size();) {
      const std::string::size_type end = text.find('\n', begin);
      words_.push_back(text.substr(begin, end - begin));
      if (end == std::string::npos) {
        break;
      }
      begin = end + 1;
    }
  }

  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

}  // namespace spore
