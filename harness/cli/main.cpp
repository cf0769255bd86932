// SPDX-License-Identifier: GPL-2.0-only
//
// The command line: parses, runs the chosen command, turns errors into one
// sentence on stderr and an exit code.

#include <fmt/format.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <functional>
#include <system_error>

#include "base/color.h"
#include "base/error.h"
#include "base/privileges.h"
#include "cli/completion.h"
#include "cli/config_file.h"
#include "cli/doctor_command.h"
#include "cli/man.h"
#include "cli/races_command.h"
#include "cli/run_command.h"
#include "compare/compare_command.h"
#include "engine/environment.h"
#include "kvm/workload.h"
#include "replay/record_command.h"
#include "replay/replay_command.h"
#include "report/report_command.h"
#include "watch/watch_command.h"

namespace {

using dyield::Error;
using dyield::ExitCode;

void set_up_log() {
  auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
      dyield::no_color() ? spdlog::color_mode::never : spdlog::color_mode::automatic);
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("dyield", sink));
  spdlog::set_pattern("dyield: %^%l%$: %v");
}

ExitCode list(bool json) {
  dyield::Json rows = dyield::Json::array();
  for (const auto& row : dyield::workloads()) {
    if (!json) fmt::print("{:<9}  {:<20}  {}\n", row.group, row.name, row.text);
    rows.push_back({{"group", row.group},
                    {"name", row.name},
                    {"text", row.text},
                    {"max_vcpus", dyield::way_info(row.way).max_vcpus}});
  }
  if (json) fmt::print("{}\n", rows.dump(2));
  return ExitCode::kOk;
}

ExitCode env(bool json) {
  const dyield::Json environment = {{"environment", dyield::collect_environment()},
                                    {"volatile", dyield::collect_volatile_facts()}};
  if (json) {
    fmt::print("{}\n", environment.dump(2));
    return ExitCode::kOk;
  }
  const dyield::Json flat = environment.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    const std::string path = pointer.substr(1);
    fmt::print("{}: {}\n", path.substr(path.find('/') + 1),
               value.is_string() ? value.get<std::string>() : value.dump());
  }
  return ExitCode::kOk;
}

// What shell completion offers where an option checks its values by itself.
dyield::ValueSets value_sets() {
  dyield::ValueSets sets;
  for (const auto& row : dyield::workloads()) sets["WORKLOAD"].push_back(row.name);
  for (const auto& row : dyield::metrics()) sets["METRIC"].emplace_back(row.name);
  return sets;
}

int run(int argc, char** argv) {
  CLI::App app{"Runs KVM guests that send IPIs, and shows whom KVM's directed yield picks."};
  app.require_subcommand(1);
  app.set_version_flag("--version", "dyield " DYIELD_VERSION);
  app.footer(
      "Exit codes: 0 ok, 1 failed or regressed, 2 usage, 3 environment, 4 skipped, 124 timeout.\n"
      "Examples:\n"
      "  dyield list\n"
      "  dyield run unicast --vcpus 4 --cpus 2 -o run.json\n"
      "  dyield compare results/mainline results/patched");
  app.fallthrough();
  app.set_config("--config", "", "Read options from this TOML file: a table [run] for dyield run")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  app.config_formatter(std::make_shared<dyield::TomlConfig>(&app));
  app.allow_config_extras(CLI::config_extras_mode::error);
  bool verbose = false, quiet = false;
  app.add_flag("-v,--verbose", verbose, "Say more on stderr");
  app.add_flag("-q,--quiet", quiet, "Say only warnings and errors");

  std::function<ExitCode()> action;
  const auto select = [&action](std::function<ExitCode()> chosen) { action = std::move(chosen); };
  // For commands that only print, some of them what they find in files of others.
  const auto select_confined = [&action](dyield::Files files) {
    return [&action, files](std::function<ExitCode()> chosen) {
      action = [files, chosen = std::move(chosen)] {
        dyield::confine_to_files(files);
        return chosen();
      };
    };
  };
  const auto select_reader = select_confined(dyield::Files::kRead);
  bool json = false;
  CLI::App* list_command = app.add_subcommand("list", "Name the workloads");
  list_command->callback([&] { select_reader([&] { return list(json); }); });
  CLI::App* env_command =
      app.add_subcommand("env", "Print what goes into a result about this machine");
  env_command->callback([&] { select([&] { return env(json); }); });
  for (CLI::App* command : {list_command, env_command})
    command->add_flag("--json", json, "Print JSON");
  list_command->footer("Examples:\n  dyield list\n  dyield list --json");
  env_command->footer("Examples:\n  dyield env\n  dyield env --json");
  std::string shell;
  CLI::App* completion = app.add_subcommand("completion", "Print a shell's completion of dyield");
  completion->add_option("shell", shell, "The shell")
      ->check(CLI::IsMember(dyield::kShells))
      ->required();
  completion->footer(
      "Examples:\n"
      "  source <(dyield completion bash)\n"
      "  dyield completion fish >~/.config/fish/completions/dyield.fish\n"
      "  dyield completion zsh >~/.zfunc/_dyield    # a folder in $fpath");
  completion->callback([&] {
    select_reader([&] {
      fmt::print("{}", dyield::completion_script(app, shell, value_sets()));
      return ExitCode::kOk;
    });
  });
  CLI::App* man = app.add_subcommand("man", "Print the man page");
  man->footer("Examples:\n  dyield man | man -l -");
  man->callback([&] {
    select_reader([&] {
      fmt::print("{}", dyield::man_page(app));
      return ExitCode::kOk;
    });
  });
  dyield::add_doctor_command(app, select);
  dyield::add_run_command(app, {argv, argv + argc}, select);
  const auto select_writer = select_confined(dyield::Files::kReadAndWrite);
  dyield::add_compare_command(app, select_writer);
  dyield::add_report_command(app, select_writer);
  dyield::add_watch_command(app, select);
  dyield::add_record_command(app, select);
  dyield::add_replay_command(app, select_reader);
  dyield::add_races_command(app, select);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error, std::cout, std::cerr);
    return static_cast<int>(code == 0 ? ExitCode::kOk : ExitCode::kUsage);
  }
  spdlog::set_level(verbose ? spdlog::level::debug
                    : quiet ? spdlog::level::warn
                            : spdlog::level::info);
  return static_cast<int>(action());
}

// Results that nobody got are no success, on a full disk for instance.
int run_and_flush(int argc, char** argv) {
  int error = 0;
  try {
    const int code = run(argc, argv);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    error = errno;
  } catch (const std::system_error& failure) {
    // fmt::print throws it if its text fills the buffer.
    if (std::ferror(stdout) == 0) throw;
    error = failure.code().value();
  }
  throw Error(ExitCode::kEnvironment,
              fmt::format("Cannot write to standard output: {}; free space, or see where it goes.",
                          dyield::errno_text(error)));
}

}  // namespace

int main(int argc, char** argv) {
  try {
    set_up_log();
    return run_and_flush(argc, argv);
  } catch (const Error& error) {
    spdlog::log(error.code() == ExitCode::kSkipped ? spdlog::level::warn : spdlog::level::err,
                "{}{}", error.code() == ExitCode::kSkipped ? "skipped: " : "", error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    spdlog::critical("Unexpected failure: {}; please report it with the command line.",
                     error.what());
    return static_cast<int>(ExitCode::kFailed);
  }
}
