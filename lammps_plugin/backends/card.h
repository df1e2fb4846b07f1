// SPDX-License-Identifier: MIT
// What an exported file says of itself (card.json). No torch.
#ifndef TLMD_CARD_H
#define TLMD_CARD_H

#include <string>
#include <vector>

namespace tlmd {

struct Card {
  std::vector<std::string> elements;  // in the order of the parameters, each once
  double cutoff;                      // A, of the layers
  double reach;                       // A, of the first one: as far or farther
  bool float64;
  bool whole;          // evaluated in one piece: a network that the engine does not know, or a feature module
  std::string kernel;  // in words, for the log; empty for a PaiNN
  std::string theory;  // level of theory of the labels
  std::vector<std::string> baseline;    // pair styles that were taken off the labels and have to be added
  std::vector<double> shortest;         // (S * S) A, smallest distances in training by species; empty: not known
  double halt_eV_A = 0, dump_eV_A = 0;  // deviations of forces on atoms that call for a stop, a label; 0: not known
  int members = 0;                      // of the committee that these hold for
  std::string dtype() const { return float64 ? "float64" : "float32"; }
};

/// Reads `json`, the card of the file `name`, which has to be of `kind` (tpainn | mekrr). Throws std::runtime_error
/// with one line that says got / wanted / do.
Card read_card(const std::string &json, const std::string &name, const std::string &kind);

}  // namespace tlmd
#endif
