// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The program's commands; each is defined in the file of its name.
#pragma once

#include "program/command_line.hpp"

namespace nestwalk::sim {

extern const Command kNestwalk;  ///< the program: the list of all others

extern const Command kRunCommand;
extern const Command kCompareCommand;
extern const Command kSweepCommand;
extern const Command kReportCommand;
extern const Command kExplainCommand;
extern const Command kCheckCommand;
extern const Command kGateCommand;
extern const Command kCalibrateCommand;
extern const Command kValidateCommand;
extern const Command kTraceCommand;
extern const Command kConfigCommand;
extern const Command kCompletionCommand;
extern const Command kManCommand;

extern const Command kTraceInfo;
extern const Command kTraceCat;
extern const Command kTraceStats;
extern const Command kTraceCut;
extern const Command kTraceMerge;
extern const Command kTraceSplit;
extern const Command kTraceGen;
extern const Command kTraceImport;
extern const Command kTraceVerify;

extern const Command kConfigList;
extern const Command kConfigExplain;
extern const Command kConfigPrint;
extern const Command kConfigSchema;

}  // namespace nestwalk::sim
