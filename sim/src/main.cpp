// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <unistd.h>

#include <systemc>

#include "commands/commands.hpp"
#include "program/output.hpp"
#include "program/signals.hpp"

namespace nestwalk::sim {
namespace {

int run(const Arguments& arguments) {
  if (!arguments.empty() && arguments[0] == "--version") {
    TextOutput().write("nestwalk " NESTWALK_VERSION "\n");
    return kDone;
  }
  return run_command(kNestwalk, std::string(kNestwalk.name), arguments);
}

int run_guarded(const Arguments& arguments) {
  try {
    return run(arguments);
  } catch (...) {
    const Failure failure = current_failure();
    if (failure.begins_with_command) {
      complain(failure.message);
    } else {
      warn(failure.message);
    }
    return failure.code;
  }
}

// A standard stream that is closed must not become the number of a file that is opened.
void occupy_standard_streams() {
  for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; ++descriptor) {
    if (fcntl(descriptor, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) return;
  }
}

}  // namespace
}  // namespace nestwalk::sim

// The kernel's library wants it; simulations are elaborated by the commands that need one.
int sc_main(int, char**) { return nestwalk::sim::kInternal; }

int main(int count, char** arguments) {
  nestwalk::sim::occupy_standard_streams();
  nestwalk::sim::handle_signals();
  nestwalk::sim::handle_no_memory();
  return nestwalk::sim::run_guarded({arguments + 1, arguments + count});
}
