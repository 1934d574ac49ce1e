#pragma once

#include <string>
#include <vector>

#include "base/files.h"

namespace textmill::fleet {

/// What a model asks for, and what there is.
struct ServingRequest {
  std::string image;   // of the container's description
  base::Path model;    // its unpacked artifact; may be empty
  base::Path code;     // where its script is: code/ of the artifact, or what SAGEMAKER_SUBMIT_DIRECTORY names
  std::string script;  // SAGEMAKER_PROGRAM; empty: inference.py
  base::Path program;  // this executable
  base::Path data_folder;
};

struct ServingProgram {
  std::vector<std::string> command;
  std::vector<base::Path> visible;  // that it needs of what is hidden
  base::Path environment;           // of Python; empty: none
};

/// Which program serves a model:
///
///   textmill/serve                      this executable
///   process:///path/program             that one
///   huggingface-pytorch-inference,      code/inference.py of the artifact, in the Python environment of the row;
///   pytorch-inference, ...              without one, this executable if `textmill describe` knows the artifact
///
/// Names are the repository's last part, whatever stands before and after it. Throws invalid saying what is missing and
/// how to add it.
ServingProgram serving_program(const ServingRequest& request);

}  // namespace textmill::fleet
