// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// What ends the program from outside: signals, and no memory.
#pragma once

namespace nestwalk::sim {

/// From now on SIGINT, SIGTERM, SIGHUP and SIGXCPU end the program with kIncomplete, and what is
/// half written goes; writing too much to a file or to nobody is an error of that write.
void handle_signals();
/// When an allocation fails, one line says so: whoever asked may not be able to go back.
void handle_no_memory();

/// While it exists, the first signal only changes `interrupted`: what was found so far is shown.
/// The next one ends the program. One within another changes nothing.
class Interruptible {
 public:
  Interruptible();
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
};
bool interrupted();

/// Of a child: any number of signals only change `interrupted`, since a terminal and the parent may
/// both send them. The last words go to `descriptor` when there is no memory.
void be_patient(int descriptor);
}  // namespace nestwalk::sim
