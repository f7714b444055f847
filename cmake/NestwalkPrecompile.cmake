# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# Our own headers are among the precompiled ones, and are not to be excused from warnings.
set(CMAKE_PCH_PROLOGUE "")

# nestwalk_precompile(<target> <headers...>): compiles these once for all that a folder names so. The
# first target must have the compile definitions that the headers need, and no others.
function(nestwalk_precompile target)
  get_property(first DIRECTORY PROPERTY nestwalk_precompiled)
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  elseif(ARGN)
    target_precompile_headers(${target} PRIVATE ${ARGN})
    set_property(DIRECTORY PROPERTY nestwalk_precompiled ${target})
  endif()
endfunction()
