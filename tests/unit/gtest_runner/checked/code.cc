#include "code.h"

#include <thread>

namespace checked {
namespace {

int g_ready = 0;
int g_shared = 0;
int* volatile g_lost = nullptr;

void count_to(int last) {
  for (int i = 0; i < last; ++i) {
    ++g_shared;
  }
}

}  // namespace

void set_up() {
  for (int i = 0; i < 5; ++i) {
    g_ready += sign(i - 1);
  }
}

void tear_down() {
  g_ready = 0;
}

int sign(int number) {
  if (number < 0) {
    return -1;
  }
  return number > 0 ? 1 : 0;
}

int sum_up_to(int last) {
  int sum = 0;
  for (int i = 1; i <= last; ++i) {
    sum += i;
  }
  return sum;
}

int use_freed_memory() {
  int* volatile number = new int(7);
  delete number;
  return *number;
}

int overflow(int number) {
  return number + 1;
}

int race() {
  constexpr int kOften = 1000;
  std::thread other(count_to, kOften);
  count_to(kOften);
  other.join();
  return g_shared;
}

void leak() {
  g_lost = new int[1000];
  g_lost = nullptr;
}

}  // namespace checked
