// SPDX-License-Identifier: GPL-2.0-only
// Attaches empty programs until it is killed: to kvm_vcpu_on_spin(), and with the argument "all"
// wherever a yield meets one of the probes' programs.
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "bpf/loading.h"
#include "empty.skel.h"

int main(int argc, char** argv) try {
  using namespace dyield;
  begin_loading("");
  const bool all = argc > 1 && std::string_view(argv[1]) == "all";
  const std::unique_ptr<empty_bpf, void (*)(empty_bpf*)> skeleton(empty_bpf::open(),
                                                                  empty_bpf::destroy);
  if (!skeleton) fail_loading("open", errno);
  const auto& programs = skeleton->progs;
  const bool has_reasons = has_target(programs.directed_yield, kReasons);
  for (const auto& [program, wanted] : {std::pair{programs.yield_to_exit, all && !has_reasons},
                                        std::pair{programs.directed_yield, all && has_reasons},
                                        std::pair{programs.switched, all}}) {
    check_loading("select", bpf_program__set_autoload(program, wanted));
  }
  check_loading("load", empty_bpf::load(skeleton.get()));
  check_loading("attach", empty_bpf::attach(skeleton.get()));
  for (;;) pause();
} catch (const dyield::Error& error) {
  fmt::print(stderr, "empty-probes: {}\n", error.what());
  return static_cast<int>(error.code());
}
