// The fixture point of programs that run in a FakeSession: fake_fixture_point() waits until the
// machine is "captured", and returns once in a forked process per child.
//
// Protocol on the descriptor named by SPORE_FAKE_FIXTURE_FD, a SOCK_SEQPACKET: the program sends
// "F"; it gets "R" (go on here), or "C" and a JSON object of the fork's parameters with four
// descriptors: stdout, stderr, a pipe that takes the child's wait status, and such a socket for the
// child, which may come to a fixture point of its own.
#pragma once

#include <map>
#include <string>

namespace spore::testing {

struct FakeFork {
  bool forked = false;
  int shard_index = 0;
  int shard_count = 1;
  std::map<std::string, std::string> user;
};

FakeFork fake_fixture_point();

}  // namespace spore::testing
