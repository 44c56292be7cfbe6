// Makes the linker take __gcov_dump() and __gcov_reset() out of GCC's libgcov.a, where weak names
// alone do not, and only into programs that have it: what is compiled with --coverage calls
// __gcov_init(), the linker's --wrap makes that a call of this file, and the file comes with it.

extern "C" {
struct gcov_info;
void __gcov_dump();   // NOLINT
void __gcov_reset();  // NOLINT
void original_gcov_init(gcov_info* info) asm("__real___gcov_init");
void spore_gtest_gcov_init(gcov_info* info) asm("__wrap___gcov_init");

extern void (*const spore_gtest_gcov_functions[])();
__attribute__((used)) void (*const spore_gtest_gcov_functions[])() = {__gcov_dump, __gcov_reset};

void spore_gtest_gcov_init(gcov_info* info) {
  original_gcov_init(info);
}
}
