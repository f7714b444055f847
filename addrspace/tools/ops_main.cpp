// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <string>

#include "ops_interpreter.hpp"
#include "script_line.hpp"

namespace {

enum ExitCode { kDone = 0, kInternal = 1, kUsage = 2, kBadInput = 4 };

constexpr const char* kHelp =
    "usage: addrspace-ops [FILE]\n"
    "Runs an operation script against the address-space engine and prints one line for each\n"
    "operation. Without FILE, or with -, the script is read from standard input.\n"
    "\n"
    "  space x86_64|aarch64|riscv64 LEVELS BASE SIZE   ok | error CLASS\n"
    "  map-linear GPA HPA SIZE FLAGS                   ok | error CLASS\n"
    "  map-alloc GPA SIZE FLAGS eager|lazy             ok | error CLASS\n"
    "  unmap GPA SIZE                                  ok | error CLASS\n"
    "  protect GPA SIZE FLAGS                          ok | error CLASS\n"
    "  clear                                           ok\n"
    "  fault GPA FLAGS                                 handled | unhandled\n"
    "  query GPA                                       none | 0xHPA | frame+0xOFFSET\n"
    "\n"
    "To look closer: outcome GPA FLAGS, areas, runs, usage, config, why, and\n"
    "fences precise|context|original-0.3.0.\n"
    "FLAGS are letters of r w x u d n (read, write, execute, user, device, uncached), or -.\n"
    "Numbers are hexadecimal with 0x. Blank lines and lines that begin with # are skipped.\n"
    "\n"
    "Exit codes: 0 done, 1 internal error, 2 usage, 4 a malformed or unreadable script.\n";

int usage_error(const std::string& what) {
  std::cerr << "addrspace-ops: " << nestwalk::addrspace::printable(what)
            << " (addrspace-ops --help says more)\n";
  return kUsage;
}

int run(const std::string& path) {
  bool done = false;
  if (path == "-") {
    done = nestwalk::addrspace::run_script(std::cin, "<stdin>", std::cout, std::cerr);
  } else {
    const std::string name = nestwalk::addrspace::printable(path);
    std::ifstream script(path);
    if (!script) {
      std::cerr << name << ": cannot be opened: " << std::strerror(errno) << '\n';
      return kBadInput;
    }
    done = nestwalk::addrspace::run_script(script, name, std::cout, std::cerr);
  }
  return done ? kDone : kBadInput;
}

int run(int count, char** arguments) {
  std::string path = "-";
  for (int n = 1; n < count; ++n) {
    const std::string argument = arguments[n];
    if (argument == "--help" || argument == "-h") {
      std::cout << kHelp;
      return kDone;
    }
    if (argument.size() > 1 && argument[0] == '-') {
      return usage_error("expected a file or --help, found '" + argument + "'");
    }
    if (n > 1) return usage_error("expected one file at most, found '" + argument + "' as well");
    path = argument;
  }
  return run(path);
}

}  // namespace

int main(int count, char** arguments) {
  std::ios::sync_with_stdio(false);
  // A closed pipe and a file's size limit are errors of the write, and reported.
  for (const int number : {SIGPIPE, SIGXFSZ}) std::signal(number, SIG_IGN);
  try {
    const int code = run(count, arguments);
    if (std::cout.flush()) return code;
    std::cerr << "addrspace-ops: standard output cannot be written\n";
    return kInternal;
  } catch (const std::exception& error) {
    std::cerr << "addrspace-ops: " << error.what() << '\n';
    return kInternal;
  }
}
