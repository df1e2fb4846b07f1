// SPDX-License-Identifier: MIT
#include "d3_file.h"

#include "archive.h"
#include "refusal.h"

#include <nlohmann/json.hpp>  // MIT; the copy that comes with LAMMPS

#include <cmath>
#include <cstdint>
#include <set>

namespace tlmd {

using Json = nlohmann_lmp::json;

static constexpr int FORMAT_VERSION = 1;

// CRC-32 of all lines but the first, which states it.
static std::string checksum(const std::string &bytes) {
  const size_t rest = bytes.find('\n') + 1;
  char text[9];
  snprintf(text, sizeof text, "%08x", crc32(bytes.data() + rest, bytes.size() - rest));
  return text;
}

static void expect(bool right, const char *what) {
  if (!right) throw std::runtime_error(what);
}

static double number(const Json &json, double least = 0) {
  const double value = json.get<double>();
  expect(std::isfinite(value) && value >= least, "a number out of range");
  return value;
}

static void read_damping(const Json &content, engine::D3Parameters &p) {
  const std::string damping = content.at("damping");
  expect(damping == "bj" || damping == "zero", "a damping that is neither zero nor bj");
  const Json &given = content.at("parameters");
  p.becke_johnson = damping == "bj";
  p.s6 = number(given.at("s6"));
  p.s8 = number(given.at("s8"), -100);
  p.first = number(given.at(p.becke_johnson ? "a1" : "rs6"));
  p.second = number(given.at(p.becke_johnson ? "a2_A" : "rs8"));
  p.cutoff = number(content.at("cutoff_A"), 0.1);
  p.cn_cutoff = number(content.at("cn_cutoff_A"), 0.1);
  p.counting = number(content.at("counting"));
  p.weighting = number(content.at("weighting"));
}

static void read_elements(const Json &content, D3File &file) {
  std::set<std::string> known;
  for (const Json &element : content.at("elements")) {
    const std::string symbol = element.at("symbol");
    expect(known.insert(symbol).second, "an element twice");
    file.elements.push_back(symbol);
    file.parameters.covalent.push_back(number(element.at("covalent_radius_A"), 1e-3));
    file.parameters.r4r2.push_back(number(element.at("r4r2_A"), 1e-3));
    std::vector<double> numbers;
    for (const Json &value : element.at("reference_numbers")) numbers.push_back(number(value));
    expect(!numbers.empty() && numbers.size() <= engine::D3_REFERENCES, "too few or too many references");
    file.parameters.n_references = std::max(file.parameters.n_references, (int) numbers.size());
    file.parameters.numbers.push_back(numbers);
  }
  file.parameters.n_species = (int) file.elements.size();
  expect(!file.elements.empty(), "no elements");
}

// C6 (and radii of zero damping) of each pair of elements, in the order a <= b.
static void read_pairs(const Json &content, D3File &file) {
  auto &p = file.parameters;
  const int S = p.n_species, R = p.n_references;
  p.c6.assign((size_t) S * S * R * R, 0);
  if (!p.becke_johnson) p.radii.assign(S * S, 0);
  const Json &pairs = content.at("pairs");
  expect((int) pairs.size() == S * (S + 1) / 2, "another number of pairs than of elements");
  int next = 0;
  for (int s = 0; s < S; s++)
    for (int t = s; t < S; t++) {
      const Json &pair = pairs.at(next++);
      expect(pair.at("elements") == Json({file.elements[s], file.elements[t]}), "pairs in another order");
      if (!p.becke_johnson) p.radii[s * S + t] = p.radii[t * S + s] = number(pair.at("radius_A"), 1e-3);
      const auto c6 = pair.at("c6_eV_A6").get<std::vector<std::vector<double>>>();
      expect(c6.size() == p.numbers[s].size(), "another number of C6 than of references");
      for (int a = 0; a < (int) c6.size(); a++) {
        expect(c6[a].size() == p.numbers[t].size(), "another number of C6 than of references");
        for (int b = 0; b < (int) c6[a].size(); b++) {
          expect(std::isfinite(c6[a][b]) && c6[a][b] > 0, "a C6 out of range");
          p.c6[(((size_t) s * S + t) * R + a) * R + b] = p.c6[(((size_t) t * S + s) * R + b) * R + a] = c6[a][b];
        }
      }
    }
}

static Json checked(const std::string &bytes, const std::string &name) {
  Json content;
  try {
    content = Json::parse(bytes);
    expect(content.at("kind") == "tlmd-d3", "another kind");
  } catch (const std::exception &) {
    refuse(name + ", damaged or another kind of file", "a file of D3 by tl-export", "run `tl-export model.pt`");
  }
  const int version = content.value("format_version", 0);
  if (version > FORMAT_VERSION)
    refuse(name + " of format " + std::to_string(version), "format " + std::to_string(FORMAT_VERSION) + " or older",
           "install a newer tlmd plugin");
  const std::string found = checksum(bytes), stated = content.value("crc32", "none");
  if (found != stated)
    refuse(name + " with checksum " + found, "the one that it states, " + stated,
           "copy the file again, or run `tl-export model.pt`");
  return content;
}

D3File read_d3(const std::string &bytes, const std::string &name) {
  const Json content = checked(bytes, name);
  D3File file;
  try {
    read_damping(content, file.parameters);
    read_elements(content, file);
    read_pairs(content, file);
    file.summary = "D3 of " + content.at("functional").get<std::string>() + ", " +
                   content.at("damping").get<std::string>() + " damping, " + content.at("source").get<std::string>();
  } catch (const std::exception &error) {
    refuse(name + " with values that cannot be used (" + error.what() + ")", "a file of D3 by tl-export",
           "run `tl-export model.pt`");
  }
  return file;
}

}  // namespace tlmd
