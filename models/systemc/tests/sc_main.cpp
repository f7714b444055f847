// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// The library of the kernel wants it. GoogleTest has main; each test is a process of its own.

#include <systemc>

int sc_main(int, char**) { return 0; }
