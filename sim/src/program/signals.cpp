// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "program/signals.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <new>

#include "nestwalk/traces/partial.hpp"
#include "program/exit_code.hpp"

namespace nestwalk::sim {
namespace {

/// SIGXCPU: batch systems send it before they kill.
constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU};

enum class OnSignal { End, NoteThenEnd, Note };

std::atomic<OnSignal> g_on_signal = OnSignal::End;
std::atomic<bool> g_interrupted = false;
static_assert(std::atomic<OnSignal>::is_always_lock_free);

// Only what POSIX allows in a handler.
void say(int descriptor, const char* text) {
  for (std::size_t left = std::strlen(text); left != 0;) {
    const ssize_t count = write(descriptor, text, left);
    if (count <= 0) return;
    text += count;
    left -= static_cast<std::size_t>(count);
  }
}

void on_signal(int) {
  const bool before = g_interrupted.exchange(true);
  if (g_on_signal == OnSignal::Note || (g_on_signal == OnSignal::NoteThenEnd && !before)) return;
  traces::remove_partial();
  say(STDERR_FILENO, "nestwalk: interrupted\n");
  _exit(kIncomplete);
}

[[noreturn]] void on_no_memory() {
  traces::remove_partial();
  say(STDERR_FILENO, "nestwalk: ");
  say(STDERR_FILENO, kOutOfMemory);
  say(STDERR_FILENO, "\n");
  _exit(kInternal);
}

int g_parent = -1;

[[noreturn]] void tell_parent_of_no_memory() {
  constexpr char kCode[] = {'0' + kInternal, '\0'};
  say(g_parent, kCode);
  say(g_parent, kOutOfMemory);
  _exit(0);
}

}  // namespace

void handle_signals() {
  for (const int number : kSignals) {
    struct sigaction before {};
    sigaction(number, nullptr, &before);
    if (number == SIGHUP && before.sa_handler == SIG_IGN) continue;  // nohup
    struct sigaction action {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(number, &action, nullptr);
  }
  for (const int number : {SIGPIPE, SIGXFSZ}) std::signal(number, SIG_IGN);
}

void handle_no_memory() { std::set_new_handler(on_no_memory); }

namespace {

// Before the constructors of the libraries, which allocate as well.
[[gnu::section(".preinit_array"), gnu::used]] void (*const g_first)() = handle_no_memory;

}  // namespace

namespace {

unsigned g_guards = 0;

}  // namespace

Interruptible::Interruptible() {
  if (g_guards++ != 0) return;
  g_interrupted = false;
  g_on_signal = OnSignal::NoteThenEnd;
}

Interruptible::~Interruptible() {
  if (--g_guards == 0) g_on_signal = OnSignal::End;
}

bool interrupted() { return g_interrupted; }

void be_patient(int descriptor) {
  g_on_signal = OnSignal::Note;
  g_parent = descriptor;
  std::set_new_handler(tell_parent_of_no_memory);
}

}  // namespace nestwalk::sim
