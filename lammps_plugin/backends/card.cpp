// SPDX-License-Identifier: MIT
#include "card.h"

#include "refusal.h"

#include <nlohmann/json.hpp>  // MIT; the copy that comes with LAMMPS

#include <cmath>
#include <set>
#include <sstream>

namespace tlmd {

using Json = nlohmann_lmp::json;

static constexpr int FORMAT_VERSION = 3;

static void check_kind(const Json &card, const std::string &name, const std::string &wanted) {
  const int version = card.value("format_version", 0);
  const std::string kind = card.value("kind", "unknown");
  if (version > FORMAT_VERSION)
    refuse(name + " of format " + std::to_string(version), "format " + std::to_string(FORMAT_VERSION) + " or older",
           "install a newer tlmd plugin");
  if (kind != wanted) refuse(name + " of kind " + kind, "kind " + wanted, "use pair_style " + kind);
}

// Whether the network is evaluated in one piece: it is none that the engine knows, or a kernel's feature module.
static bool in_one_piece(const Json &card) {
  const Json architecture = card.value("architecture", Json()), kernel = card.value("kernel", Json());
  if (kernel.is_object() && kernel.value("backbone", "painn") == "module") return true;
  return architecture.is_object() && architecture.value("network", "painn") != "painn";
}

static void check_values(const Card &card, const std::string &name) {
  std::set<std::string> known;
  for (const auto &element : card.elements)
    if (!known.insert(element).second)
      refuse(name + " with element " + element + " twice", "each element once", "train and export it again");
  if (card.elements.empty()) refuse(name + " without elements", "one at least", "train and export it again");
  if (!std::isfinite(card.cutoff) || card.cutoff <= 0)
    refuse(name + " with cutoff " + std::to_string(card.cutoff), "a length above zero", "export it again");
  if (!std::isfinite(card.reach) || card.reach < card.cutoff)
    refuse(name + " with first_cutoff " + std::to_string(card.reach),
           "at least the cutoff, " + std::to_string(card.cutoff), "export it again");
}

// The cutoff of the first layer, A: that of all where the card has none.
static double first_cutoff(const Json &card, double cutoff) {
  const Json architecture = card.value("architecture", Json());
  if (!architecture.is_object() || !architecture.contains("first_cutoff")) return cutoff;
  const Json &first = architecture.at("first_cutoff");
  return first.is_null() ? cutoff : first.get<double>();
}

static std::string kernel_words(const Json &kernel) {
  std::ostringstream words;
  words << kernel.at("n_features") << " features of a " << kernel.at("kind").get<std::string>() << " kernel, alpha "
        << kernel.at("alpha");
  return words.str();
}

// Distances by names of pairs, H-O or O-H, as a table by species.
static std::vector<double> table_of(const Json &distances, const std::vector<std::string> &elements) {
  std::vector<double> table;
  for (const auto &a : elements)
    for (const auto &b : elements) table.push_back(distances.value(a + "-" + b, distances.value(b + "-" + a, 0.0)));
  return table;
}

Card read_card(const std::string &json, const std::string &name, const std::string &kind) {
  if (json.empty()) refuse(name + " without a card", "a file written by tl-export", "run `tl-export model.pt`");
  Card card;
  try {
    const Json content = Json::parse(json);
    check_kind(content, name, kind);
    card.elements = content.at("elements").get<std::vector<std::string>>();
    card.cutoff = content.at("cutoff").get<double>();
    card.reach = first_cutoff(content, card.cutoff);
    card.float64 = content.at("dtype") == "float64";
    card.theory = content.value("level_of_theory", "unknown");
    card.whole = in_one_piece(content);
    const Json baseline = content.value("baseline", Json());
    if (baseline.is_object()) card.baseline = baseline.at("styles").get<std::vector<std::string>>();
    const Json distances = content.value("shortest_A", Json::object());
    if (!distances.empty()) card.shortest = table_of(distances, card.elements);
    const Json deviation = content.value("deviation", Json());
    if (deviation.is_object() && deviation.value("quantity", "forces") == "forces") {
      card.halt_eV_A = deviation.value("halt_eV_A", 0.0);
      card.dump_eV_A = deviation.value("dump_eV_A", 0.0);
      card.members = deviation.value("members", 0);
    }
    if (kind == "mekrr") card.kernel = kernel_words(content.at("kernel"));
  } catch (const Json::exception &error) {
    refuse(name + " with a card that cannot be read (" + error.what() + ")", "a file written by tl-export",
           "run `tl-export model.pt`");
  }
  check_values(card, name);
  return card;
}

}  // namespace tlmd
