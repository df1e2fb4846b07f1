// SPDX-License-Identifier: GPL-2.0-only
#include "keywords.h"

#include "backends/refusal.h"

#include <cmath>
#include <cstdlib>
#include <sstream>

namespace tlmd {

static double sigma(const std::string &value) { return value == "auto" ? AUTO : std::stod(value); }

// Python reads the four texts of each row (tests/plugin/test_keywords.py): each is one literal.
// clang-format off
const std::vector<Keyword> TPAINN_KEYWORDS = {
  {"backend", "native|torchscript", "native; torchscript on a GPU and for backbones that are TorchScript",
   "What evaluates the model: the native engine (PaiNN on the CPU), or the scripted network in libtorch.",
   [](Settings &s, const Values &v) { s.backend = v[0]; }},
  {"device", "cpu|cuda|auto", "auto",
   "Where the model is evaluated; auto: on a GPU if libtorch finds one.",
   [](Settings &s, const Values &v) { s.device = v[0]; }},
  {"check", "yes|no", "yes",
   "Whether the file's own test cluster and, at the first step, both backends are compared.",
   [](Settings &s, const Values &v) { s.check = v[0] == "yes"; }},
  {"masses", "yes|no", "yes",
   "Whether element names are compared with the masses of the atoms; no: for masses that are changed on purpose.",
   [](Settings &s, const Values &v) { s.masses = v[0] == "yes"; }},
  {"closest", "warn|halt|off", "warn",
   "Where two elements first come nearer than 0.9 of their smallest distance in training: a warning, or also the end of the run.",
   [](Settings &s, const Values &v) { s.closest = v[0]; }},
  {"halt", "SIGMA|auto", "off",
   "Committees: the run ends where the deviation of the force on an atom is above SIGMA (force units of the run); auto: `halt_eV_A` of the first model's card.",
   [](Settings &s, const Values &v) { s.halt = sigma(v[0]); }},
  {"dump", "SIGMA|auto FILE", "off",
   "Committees: frames where the deviation of the force on an atom is above SIGMA (force units of the run) are appended to FILE (extxyz); auto: `dump_eV_A` of the first model's card.",
   [](Settings &s, const Values &v) { s.dump = sigma(v[0]); s.dump_file = v[1]; }},
  {"every", "N", "10",
   "Steps between two looks at the deviations, for halt and dump.",
   [](Settings &s, const Values &v) { s.every = std::stoi(v[0]); }},
};

const std::vector<Keyword> MEKRR_KEYWORDS = {
  {"halt", "SIGMA", "off",
   "The run ends where the standard deviation of an atom's energy is above SIGMA (energy units of the run).",
   [](Settings &s, const Values &v) { s.halt = sigma(v[0]); }},
  {"dump", "SIGMA FILE", "off",
   "Frames where the standard deviation of an atom's energy is above SIGMA are appended to FILE (extxyz).",
   [](Settings &s, const Values &v) { s.dump = sigma(v[0]); s.dump_file = v[1]; }},
};

const std::vector<Keyword> D3_KEYWORDS = {
  {"every", "N", "1",
   "Steps between two refreshes of coordination numbers and C6; between them both are held, and the energy follows coordination numbers at linear order.",
   [](Settings &s, const Values &v) { s.every = std::stoi(v[0]); }},
  {"tail", "yes|no", "no",
   "Whether what lies beyond the cutoff is added, of atoms spread evenly: energy and pressure, periodic boxes only.",
   [](Settings &s, const Values &v) { s.tail = v[0] == "yes"; }},
  {"masses", "yes|no", "yes",
   "Whether element names are compared with the masses of the atoms; no: for masses that are changed on purpose.",
   [](Settings &s, const Values &v) { s.masses = v[0] == "yes"; }},
};
// clang-format on

static std::vector<std::string> split(const std::string &text, char at) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, at);) words.push_back(word);
  return words;
}

static std::string listed(const std::vector<std::string> &words) {
  std::string all;
  for (const auto &word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

// What a value has to be, in words.
static std::string wanted(const std::string &kind) {
  if (kind == "SIGMA") return "a number above zero";
  if (kind == "SIGMA|auto") return "a number above zero, or auto";
  if (kind == "N") return "a whole number above zero";
  if (kind == "FILE") return "the path of a file";
  return "one of " + listed(split(kind, '|'));
}

static bool positive(const std::string &value) {
  char *end = nullptr;
  const double number = std::strtod(value.c_str(), &end);
  return *end == 0 && std::isfinite(number) && number > 0;
}

static bool fits(const std::string &kind, const std::string &value) {
  if (kind == "N") {
    char *end = nullptr;
    const long number = std::strtol(value.c_str(), &end, 10);
    return *end == 0 && number > 0 && number <= 1000000000;
  }
  if (kind == "FILE") return !value.empty();
  for (const auto &choice : split(kind, '|'))
    if (choice == "SIGMA" ? positive(value) : value == choice) return true;
  return false;
}

static const Keyword &find(const std::vector<Keyword> &keywords, const std::string &name) {
  std::vector<std::string> names;
  for (const Keyword &keyword : keywords) {
    if (name == keyword.name) return keyword;
    names.push_back(keyword.name);
  }
  refuse("keyword " + name, "one of " + listed(names), "correct the input line");
}

Settings read_settings(const std::vector<Keyword> &keywords, const std::vector<std::string> &words,
                       const Settings &usual) {
  Settings settings = usual;
  for (size_t i = 0; i < words.size();) {
    const Keyword &keyword = find(keywords, words[i++]);
    Values values;
    for (const auto &kind : split(keyword.values, ' ')) {
      const std::string value = i < words.size() ? words[i++] : "";
      if (!fits(kind, value))
        refuse((value.empty() ? "nothing" : value) + std::string(" for ") + keyword.name, wanted(kind),
               "correct the input line");
      values.push_back(value);
    }
    keyword.set(settings, values);
  }
  return settings;
}

}  // namespace tlmd
