// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <iostream>
#include <systemc>

#include "commands.hpp"
#include "nestwalk/models/preset.hpp"
#include "nestwalk/software/host_space.hpp"
#include "nestwalk/traces/error.hpp"
#include "output.hpp"

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
  } catch (const UsageError& error) {
    complain(error.what());  // It begins with the command.
    return kUsage;
  } catch (const models::PresetError& error) {
    warn(error.what());
    return kUsage;
  } catch (const software::ShapeError& error) {
    warn(error.what());
    return kUsage;
  } catch (const traces::RecordError& error) {
    warn(error.what());
    return kUsage;
  } catch (const traces::InputError& error) {
    warn(error.what());
    return kBadInput;
  } catch (const traces::OutputError& error) {
    if (error.code() == std::errc::broken_pipe) return kDone;  // The reader has seen enough.
    warn(error.what());
    return kInternal;
  } catch (const std::exception& error) {
    warn(std::string("internal error: ") + error.what());
    return kInternal;
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
  std::signal(SIGPIPE, SIG_IGN);
  return nestwalk::sim::run_guarded({arguments + 1, arguments + count});
}
