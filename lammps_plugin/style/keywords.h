// SPDX-License-Identifier: GPL-2.0-only
// The keywords of the pair styles: tables, one row each, from which come the parser, its messages and the reference
// in the documentation.
#ifndef TLMD_KEYWORDS_H
#define TLMD_KEYWORDS_H

#include <string>
#include <vector>

namespace tlmd {

constexpr double AUTO = -1;  // of halt and dump: by the model's card

/// What the input line of a pair style says.
struct Settings {
  std::string backend;  // native | torchscript; empty: native where there is no GPU
  std::string device = "auto";
  bool check = true, masses = true;
  std::string closest = "warn";  // warn | halt | off
  double halt = 0, dump = 0;     // LAMMPS units; 0: off
  std::string dump_file;
  int every = 10;  // steps
  bool tail = false;
};

using Values = std::vector<std::string>;

struct Keyword {
  const char *name;
  const char *values;  // a|b: one of these; SIGMA, N: a (whole) number above zero; FILE: a path
  const char *usual;   // what holds without the keyword
  const char *help;
  void (*set)(Settings &, const Values &);
};

extern const std::vector<Keyword> TPAINN_KEYWORDS, MEKRR_KEYWORDS, D3_KEYWORDS;  // of mekrr: in place of tpainn's

/// Reads `words`, the arguments of pair_style after its name; what they leave out is as in `usual`. Throws
/// std::runtime_error with one line that says got / wanted / do.
Settings read_settings(const std::vector<Keyword> &keywords, const std::vector<std::string> &words,
                       const Settings &usual);

}  // namespace tlmd
#endif
