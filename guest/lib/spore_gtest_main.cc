#include <gtest/gtest.h>

#include "spore_gtest.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return spore::gtest::run_all_tests(argc, argv);
}
