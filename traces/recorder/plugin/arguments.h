/* SPDX-FileCopyrightText: nestwalk contributors */
/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The arguments of the plugin: -plugin file=...,out=...,max=... */
#ifndef NESTWALK_ARGUMENTS_H
#define NESTWALK_ARGUMENTS_H

#include "recorder.h"

/* Fills all but architecture and system; vcpus only with threads=N. One line to stderr, and false, if one is wrong. */
bool parse_arguments(int count, char **arguments, struct settings *);

#endif
