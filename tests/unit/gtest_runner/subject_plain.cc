// A program that is no GoogleTest, for the runner's own tests.
#include <cstdio>

int main() {
  std::puts("hello");
  return 3;
}
