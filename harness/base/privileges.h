// SPDX-License-Identifier: GPL-2.0-only
#pragma once

#include <initializer_list>

namespace dyield {

// Gives up, for good, every capability of the calling thread but these, and what a program
// that it starts could get back (no_new_privs). Threads that it starts inherit that; those that
// run already keep theirs. Throws Error (kEnvironment).
void keep_capabilities(std::initializer_list<int> kept);

enum class Files { kRead, kReadAndWrite };

// For a command that reads files of others, and at most writes one: gives up every capability,
// and all system calls that this does not take, such as those that start programs or open
// sockets. A kernel without seccomp leaves it at the capabilities. Throws Error (kEnvironment).
void confine_to_files(Files files);

}  // namespace dyield
