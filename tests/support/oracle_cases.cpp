#include "oracle_cases.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "oracle.h"
#include "taper/nn/io/safetensors.h"

namespace taper {

using nlohmann::json;

Tensor OracleCase::operator[](const std::string& tensor) const {
  for (const auto& [own, value] : tensors_) {
    if (own == tensor) return value;
  }
  return {};
}

std::vector<Tensor> OracleCase::numbered(const std::string& prefix) const {
  std::vector<Tensor> result;
  for (Tensor x = (*this)[prefix + "0"]; x.defined();
       x = (*this)[fmt::format("{}{}", prefix, result.size())]) {
    result.push_back(x);
  }
  return result;
}

double OracleCase::number(const std::string& option) const {
  return json::parse(options_json).at(option).get<double>();
}

double OracleCase::number(const std::string& option, double otherwise) const {
  return json::parse(options_json).value(option, otherwise);
}

bool OracleCase::flag(const std::string& option, bool otherwise) const {
  return json::parse(options_json).value(option, otherwise);
}

std::string OracleCase::text(const std::string& option) const {
  return json::parse(options_json).at(option).get<std::string>();
}

std::vector<int64_t> OracleCase::list(const std::string& option) const {
  return json::parse(options_json).at(option).get<std::vector<int64_t>>();
}

std::vector<OracleCase> oracle_cases(const std::string& family) {
  const auto folder = oracle_dir(family);
  if (!folder) return {};
  const Safetensors file = load_safetensors(*folder + "/cases.safetensors");
  std::vector<OracleCase> cases;
  for (const auto& [name, text] : file.metadata) {
    const json description = json::parse(text);
    OracleCase entry;
    entry.name = name;
    entry.op = description.at("op").get<std::string>();
    entry.options_json = description.at("options").dump();
    const std::string prefix = name + "/";
    for (auto it = file.tensors.lower_bound(prefix); it != file.tensors.end(); ++it) {
      if (it->first.compare(0, prefix.size(), prefix) != 0) break;
      entry.tensors_.emplace_back(it->first.substr(prefix.size()), it->second);
    }
    cases.push_back(std::move(entry));
  }
  REQUIRE_FALSE(cases.empty());
  return cases;
}

Tensor oracle_gradient(const Tensor& y) {
  const Tensor grad = empty(y.shape(), {.dtype = y.dtype()});
  dispatch(y.dtype(), [&]<class T>() {
    for (int64_t i = 0; i < y.numel(); ++i) grad.data<T>()[i] = T(std::cos(double(i)));
  });
  return grad;
}

}  // namespace taper
