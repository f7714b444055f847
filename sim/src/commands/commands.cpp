// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "commands/commands.hpp"

namespace nestwalk::sim {
namespace {

constexpr const Command* kCommands[] = {
    &kRunCommand,    &kCompareCommand,    &kSweepCommand,     &kReportCommand,   &kExplainCommand,
    &kCheckCommand,  &kGateCommand,       &kCalibrateCommand, &kValidateCommand, &kTraceCommand,
    &kConfigCommand, &kCompletionCommand, &kManCommand};
constexpr const Command* kTraceCommands[] = {&kTraceInfo, &kTraceCat,    &kTraceStats,
                                             &kTraceCut,  &kTraceMerge,  &kTraceSplit,
                                             &kTraceGen,  &kTraceImport, &kTraceVerify};

constexpr const Command* kConfigCommands[] = {&kConfigList, &kConfigExplain, &kConfigPrint,
                                              &kConfigSchema};

}  // namespace

constexpr Command kNestwalk = {.name = "nestwalk",
                               .sentence = "A cycle-level simulator of nested paging.",
                               .commands = kCommands,
                               .epilogue = exit_code_help};
constexpr Command kTraceCommand = {.name = "trace",
                                   .sentence = "looks at, makes and changes traces (.nwt)",
                                   .commands = kTraceCommands};
constexpr Command kConfigCommand = {.name = "config",
                                    .sentence = "explains and prints configurations",
                                    .commands = kConfigCommands};

}  // namespace nestwalk::sim
