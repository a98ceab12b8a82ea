#pragma once
// Cases from tests/oracle/cases.py: PyTorch's inputs and outputs of one operation each.

#include <string>
#include <vector>

#include "taper/core/tensor.h"

namespace taper {

/// One operation as PyTorch computed it.
class OracleCase {
 public:
  std::string name;          ///< the operation with its options, for INFO()
  std::string op;            ///< the operation alone
  std::string options_json;  ///< its options; number(), text(), flag() and list() read them

  /// Returns the tensor called `tensor`; undefined if the case has none.
  Tensor operator[](const std::string& tensor) const;
  /// Returns the tensors PREFIX0, PREFIX1, ... that exist.
  std::vector<Tensor> numbered(const std::string& prefix) const;
  double number(const std::string& option) const;
  double number(const std::string& option, double otherwise) const;
  bool flag(const std::string& option, bool otherwise = false) const;
  std::string text(const std::string& option) const;
  std::vector<int64_t> list(const std::string& option) const;

 private:
  friend std::vector<OracleCase> oracle_cases(const std::string& family);
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

/// Returns the cases of tests/oracle/FAMILY_oracle.py in order. If it has not run, counts the test case as
/// skipped and returns none.
std::vector<OracleCase> oracle_cases(const std::string& family);

/// Returns the gradient that weights_like() in cases.py makes for a result of y's shape and dtype.
Tensor oracle_gradient(const Tensor& y);

}  // namespace taper
