#pragma once

#include <string>

#include "format/json.h"

namespace textmill::train {

/// README.md of a trained model, from its run.json: what it is, what it was made from and how, how good it is.
std::string model_card(const format::Json& run);

}  // namespace textmill::train
