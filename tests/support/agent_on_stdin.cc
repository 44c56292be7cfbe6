// The real agent as an ordinary process, serving the socket that is its standard input.
#include "agent/agent.h"

int main() {
  return spore::agent::run_agent(0, {}) ? 0 : 1;
}
