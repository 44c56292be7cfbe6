// What the test program of this directory tests: small, since it is compiled once for each
// sanitizer and for each kind of coverage.
#pragma once

namespace checked {

void set_up();
void tear_down();
int sign(int number);
int sum_up_to(int last);

int use_freed_memory();
int overflow(int number);
int race();
void leak();

}  // namespace checked
