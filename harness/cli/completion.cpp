// SPDX-License-Identifier: GPL-2.0-only
#include "cli/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace dyield {
namespace {

// One option or positional argument, as all three shells need it.
struct Argument {
  std::vector<std::string> flags;  // "-o", "--output"; none of a positional
  std::string text;
  bool takes_value = false;
  bool files = false;               // the value is a file or a folder
  std::vector<std::string> values;  // what the value can be; empty if anything
};

struct Command {
  std::string name;  // empty for the program itself
  std::string text;
  std::vector<Argument> options, positionals;
};

// CLI::IsMember describes itself as {a,b}; its set is not to be had otherwise.
std::vector<std::string> set_in(const std::string& type) {
  const auto begin = type.find('{'), end = type.find('}');
  std::vector<std::string> values;
  if (begin == std::string::npos || end == std::string::npos) return values;
  for (std::size_t at = begin + 1; at <= end;) {
    const auto comma = std::min(type.find(',', at), end);
    values.push_back(type.substr(at, comma - at));
    at = comma + 1;
  }
  return values;
}

Argument argument_of(const CLI::Option& option, const ValueSets& sets) {
  Argument argument;
  for (const std::string& name : option.get_snames()) argument.flags.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) argument.flags.push_back("--" + name);
  argument.text = option.get_description().substr(0, option.get_description().find('\n'));
  argument.takes_value = option.get_expected_max() > 0;
  // A validator's name follows the type's own.
  const std::string full = option.get_type_name();
  const std::string type = full.substr(0, full.starts_with("FILE:") ? 4 : full.size());
  argument.values = set_in(type);
  if (const auto known = sets.find(type); known != sets.end()) argument.values = known->second;
  argument.files =
      argument.values.empty() && (type == "FILE" || type == "DIR" || !option.nonpositional());
  return argument;
}

Command command_of(const CLI::App& app, const ValueSets& sets) {
  Command command{app.get_name(), app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    (option->nonpositional() ? command.options : command.positionals)
        .push_back(argument_of(*option, sets));
  }
  return command;
}

std::vector<Command> commands_of(const CLI::App& app, const ValueSets& sets) {
  std::vector<Command> commands;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!sub->get_group().empty()) commands.push_back(command_of(*sub, sets));
  }
  return commands;
}

std::vector<std::string> flags_of(const Command& command) {
  std::vector<std::string> flags;
  for (const Argument& option : command.options)
    flags.insert(flags.end(), option.flags.begin(), option.flags.end());
  return flags;
}

std::string join(const std::vector<std::string>& words, std::string_view between = " ") {
  return fmt::format("{}", fmt::join(words, between));
}

std::vector<std::string> names_of(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  for (const Command& command : commands) names.push_back(command.name);
  return names;
}

// What has a meaning inside single quotes or in a description of zsh's.
std::string escaped(std::string_view text, std::string_view special) {
  std::string result;
  for (const char c : text) {
    if (c == '\'') {
      result += "'\\''";
      continue;
    }
    if (special.find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

// ---------------------------------------------------------------------------

void add_bash_values(std::string& script, const Command& command) {
  for (const Argument& option : command.options) {
    if (!option.takes_value) continue;
    std::string pattern;
    for (const std::string& flag : option.flags)
      pattern += fmt::format("{}'{} {}'", pattern.empty() ? "" : "|", command.name, flag);
    script += fmt::format("    {}) {}; return ;;\n", pattern,
                          !option.values.empty()
                              ? fmt::format("words='{}'; _dyield_words", join(option.values))
                          : option.files ? "_dyield_files"
                                         : "COMPREPLY=()");
  }
}

std::string bash(const Command& program, const std::vector<Command>& commands) {
  // With a value, so that it is not taken for a subcommand.
  std::vector<std::string> with_value;
  for (const Argument& option : program.options) {
    if (option.takes_value)
      with_value.insert(with_value.end(), option.flags.begin(), option.flags.end());
  }
  std::string script = fmt::format(
      R"(# bash completion for dyield; made by: dyield completion bash
_dyield_words() {{ mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"); }}
_dyield_files() {{
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}}
_dyield() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command='' words='' i
  # bash takes --option=value apart.
  if [[ $cur == = ]]; then
    cur=''
  elif [[ $prev == = ]] && ((COMP_CWORD > 1)); then
    prev=${{COMP_WORDS[COMP_CWORD-2]}}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in
      {}) [[ ${{COMP_WORDS[i+1]}} == = ]] && ((i++)); ((i++)) ;;
      {}) command=${{COMP_WORDS[i]}}; break ;;
    esac
  done
  case "$command $prev" in
)",
      join(with_value, "|"), join(names_of(commands), "|"));
  add_bash_values(script, program);
  // Options of the program may follow a subcommand.
  for (const Command& command : commands) {
    add_bash_values(script, command);
    Command anywhere = program;
    anywhere.name = command.name;
    add_bash_values(script, anywhere);
  }
  script += "  esac\n  if [[ $cur == -* ]]; then\n    case $command in\n";
  for (const Command& command : commands)
    script += fmt::format("      {}) words='{}' ;;\n", command.name, join(flags_of(command)));
  script += fmt::format("    esac\n    words=\"$words {}\"\n    _dyield_words\n    return\n  fi\n",
                        join(flags_of(program)));
  script += fmt::format("  case $command in\n    '') words='{}'; _dyield_words ;;\n",
                        join(names_of(commands)));
  for (const Command& command : commands) {
    if (command.positionals.empty()) continue;
    const Argument& first = command.positionals.front();
    script += first.values.empty() ? fmt::format("    {}) _dyield_files ;;\n", command.name)
                                   : fmt::format("    {}) words='{}'; _dyield_words ;;\n",
                                                 command.name, join(first.values));
  }
  script += "  esac\n}\ncomplete -F _dyield dyield\n";
  return script;
}

// ---------------------------------------------------------------------------

std::string zsh_action(const Argument& argument) {
  if (!argument.values.empty()) return fmt::format("({})", join(argument.values));
  return argument.files ? "_files" : " ";
}

std::string zsh_arguments(const Command& command, std::string_view indent) {
  std::string lines;
  for (const Argument& option : command.options) {
    // Both spellings exclude each other; --side may be given twice, with '*'.
    for (const std::string& flag : option.flags) {
      lines += fmt::format(" \\\n{}'*{}{}[{}]{}'", indent, flag,
                           option.takes_value && flag.starts_with("--") ? "=" : "",
                           escaped(option.text, "[]\\:"),
                           option.takes_value ? fmt::format(":value:{}", zsh_action(option)) : "");
    }
  }
  for (const Argument& positional : command.positionals)
    lines += fmt::format(" \\\n{}'*:argument:{}'", indent, zsh_action(positional));
  return lines;
}

std::string zsh(const Command& program, const std::vector<Command>& commands) {
  std::string script =
      "#compdef dyield\n# zsh completion for dyield; made by: dyield completion zsh\n"
      "_dyield() {\n  local curcontext=$curcontext state line\n  local -a commands\n  commands=(\n";
  for (const Command& command : commands)
    script += fmt::format("    '{}:{}'\n", command.name, escaped(command.text, "\\:"));
  script += fmt::format(
      "  )\n  _arguments -C{} \\\n    '1:command:->command' \\\n    '*::argument:->argument'\n",
      zsh_arguments(program, "    "));
  script +=
      "  case $state in\n    command) _describe -t commands command commands ;;\n    argument)\n"
      "      case $words[1] in\n";
  for (const Command& command : commands) {
    Command all = command;
    all.options.insert(all.options.end(), program.options.begin(), program.options.end());
    // Two "--help" would not do; the subcommand's own comes first.
    std::vector<std::string> seen;
    std::erase_if(all.options, [&](const Argument& option) {
      const bool again = std::ranges::find(seen, option.flags.back()) != seen.end();
      seen.push_back(option.flags.back());
      return again;
    });
    // The first positional is the only one whose kind differs.
    if (all.positionals.size() > 1) all.positionals.resize(1);
    script += fmt::format("        {}) _arguments{} ;;\n", command.name,
                          zsh_arguments(all, "          "));
  }
  script +=
      "      esac\n      ;;\n  esac\n}\n"
      "if [[ $funcstack[1] == _dyield ]]; then _dyield \"$@\"; else compdef _dyield dyield; fi\n";
  return script;
}

// ---------------------------------------------------------------------------

void add_fish(std::string& script, const std::string& condition, const Argument& argument) {
  script += "complete -c dyield";
  if (!condition.empty()) script += fmt::format(" -n '{}'", condition);
  for (const std::string& flag : argument.flags)
    script += flag.starts_with("--") ? " -l " + flag.substr(2) : " -s " + flag.substr(1);
  if (argument.takes_value) script += argument.files ? " -rF" : " -x";
  if (!argument.values.empty()) script += fmt::format(" -a '{}'", join(argument.values));
  if (!argument.flags.empty()) script += fmt::format(" -d '{}'", escaped(argument.text, "\\"));
  script += '\n';
}

std::string fish(const Command& program, const std::vector<Command>& commands) {
  std::string script =
      "# fish completion for dyield; made by: dyield completion fish\ncomplete -c dyield -f\n";
  for (const Argument& option : program.options) add_fish(script, "", option);
  for (const Command& command : commands) {
    script += fmt::format("complete -c dyield -n __fish_use_subcommand -a {} -d '{}'\n",
                          command.name, escaped(command.text, "\\"));
  }
  for (const Command& command : commands) {
    const std::string condition = "__fish_seen_subcommand_from " + command.name;
    for (const Argument& option : command.options) {
      if (option.flags.back() != "--help") add_fish(script, condition, option);
    }
    if (command.positionals.empty()) continue;
    add_fish(script, condition, command.positionals.front());
  }
  return script;
}

}  // namespace

std::string completion_script(const CLI::App& app, std::string_view shell,
                              const ValueSets& values) {
  Command program = command_of(app, values);
  program.name.clear();
  const std::vector<Command> commands = commands_of(app, values);
  if (shell == "zsh") return zsh(program, commands);
  return shell == "fish" ? fish(program, commands) : bash(program, commands);
}

}  // namespace dyield
