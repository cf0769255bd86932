// SPDX-License-Identifier: GPL-2.0-only
#include "cli/man.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

namespace dyield {
namespace {

// Of the command line that the page describes, not of the build: the same
// source gives the same page.
constexpr const char* kDate = "November 23, 2026";

std::string plain(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '\\':
        result += "\\e";
        break;
      case '-':
        result += "\\-";
        break;
      case '~':
        result += "\\(ti";
        break;
      case '^':
        result += "\\(ha";
        break;
      case '`':
        result += "\\(ga";
        break;
      case '\'':
        result += "\\(aq";
        break;
      default:
        result += c;
    }
  }
  return result;
}

// As an argument of a macro, where quotes and names of macros mean something.
std::string argument(std::string_view text) {
  std::string result;
  for (const char c : plain(text)) result += c == '"' ? std::string("\\(dq") : std::string(1, c);
  return '"' + result + '"';
}

// A line of text; one that begins with a dot would be a macro.
std::string line(std::string_view text) {
  return (text.starts_with('.') ? "\\&" : "") + plain(text) + "\n";
}

// Preformatted text as it is in --help.
std::string literal(const std::string& text) {
  if (text.empty()) return "";
  std::string result = ".Bd -literal\n";
  std::istringstream stream(text);
  for (std::string one; std::getline(stream, one);) result += one.empty() ? "\n" : line(one);
  return result + ".Ed\n";
}

// Filled text, in lines that an editor likes. A sentence has an end.
std::string sentence(const std::string& text) {
  constexpr std::size_t kWidth = 72;
  std::string result, current;
  std::istringstream stream(text);
  for (std::string word; stream >> word;) {
    if (!current.empty() && current.size() + plain(word).size() >= kWidth) {
      result += line(std::exchange(current, ""));
    }
    current += (current.empty() ? "" : " ") + word;
  }
  if (!current.empty() && !current.ends_with('.')) current += '.';
  return result + line(current);
}

std::string head_of(const CLI::Option& option) {
  std::string head = ".It";
  const auto add = [&](const std::string& macro, const std::string& name) {
    head += (head == ".It" ? " " : " , ") + macro + " " + name;
  };
  for (const std::string& name : option.get_snames()) add("Fl", plain(name));
  for (const std::string& name : option.get_lnames()) add("Fl", plain("-" + name));
  if (!option.nonpositional()) add("Ar", plain(option.get_name()));
  if (option.nonpositional() && option.get_expected_max() > 0) {
    const std::string type = option.get_type_name();
    head += " Ar " + argument(type.substr(0, type.find_first_of(":[")));
  }
  return head + "\n";
}

// The set or range, and the default.
std::string values_of(const CLI::Option& option) {
  std::string text;
  const std::string type = option.get_type_name();
  if (const auto set = type.find('{'); set != std::string::npos) {
    std::string words = type.substr(set + 1, type.find('}') - set - 1);
    for (std::size_t at = 0; (at = words.find(',', at)) != std::string::npos; at += 2)
      words.replace(at, 1, ", ");
    text += sentence("One of " + words);
  } else if (const auto range = type.find(" in ["); range != std::string::npos) {
    text += sentence("In " + type.substr(range + 4));
  }
  if (!option.get_default_str().empty() && option.get_expected_max() > 0)
    text += sentence("Default: " + option.get_default_str());
  return text;
}

std::string options_of(const CLI::App& app) {
  std::string items;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;  // hidden
    items += head_of(*option) + sentence(option->get_description()) + values_of(*option);
  }
  return ".Bl -tag -width Ds\n" + items + ".El\n";
}

}  // namespace

std::string man_page(const CLI::App& app) {
  std::string page = fmt::format(
      ".\\\" SPDX-License-Identifier: GPL-2.0-only\n.\\\" Made by: dyield man\n"
      ".Dd {}\n.Dt DYIELD 1\n.Os\n.Sh NAME\n.Nm dyield\n.Nd whom KVM's directed yield picks\n"
      ".Sh SYNOPSIS\n.Nm dyield\n.Op Ar options\n.Ar command\n.Op Ar arguments\n"
      ".Sh DESCRIPTION\n",
      kDate);
  page += sentence(app.get_description());
  page += ".Pp\nThe options, which may also follow the command:\n" + options_of(app);
  page += ".Ss Commands\n.Bl -tag -width completion\n";
  std::vector<const CLI::App*> commands =
      app.get_subcommands([](const CLI::App* sub) { return !sub->get_group().empty(); });
  for (const CLI::App* sub : commands)
    page += ".It Cm " + plain(sub->get_name()) + "\n" + sentence(sub->get_description());
  page += ".El\n";
  for (const CLI::App* sub : commands) {
    page += ".Ss dyield " + plain(sub->get_name()) + "\n" + sentence(sub->get_description()) +
            options_of(*sub);
    // A subcommand without one has inherited the program's.
    if (sub->get_footer() != app.get_footer()) page += literal(sub->get_footer());
  }
  page +=
      ".Sh ENVIRONMENT\n.Bl -tag -width NO_COLOR\n.It Ev NO_COLOR\n"
      "If set and not empty, nothing is coloured.\n.El\n";
  // The footer's first line is the exit codes, and its second the examples' heading.
  const std::string footer = app.get_footer();
  const auto codes = footer.find('\n'), examples = footer.find('\n', codes + 1);
  page += ".Sh EXIT STATUS\n" +
          sentence(footer.substr(footer.find(':') + 2, codes - footer.find(':') - 2)) +
          ".Sh EXAMPLES\n" + literal(footer.substr(examples + 1));
  return page;
}

}  // namespace dyield
