#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/files.h"
#include "models/bert.h"

namespace textmill::tasks {

/// How a folder of the Sentence Transformers layout makes one vector of a text.
struct SentenceModules {
  std::optional<models::Pooling> pooling;      // none: of a model with a head
  bool normalize = false;                      // to length one
  std::string source;                          // who says so
  std::vector<base::Path> files;               // of the folder, that say so
  std::map<std::string, std::string> prompts;  // put before a text, by name
  std::string default_prompt;  // the name of what is put before if none is named; may be empty

  std::string prompt() const;  // the default one's text
};

/// From modules.json, the pooling module's config.json and config_sentence_transformers.json. Without a modules.json the
/// mean of the tokens, as that library does. Throws invalid naming the file and what is not built: a Dense module, pooling
/// by maximum or by several modes.
SentenceModules read_sentence_modules(const base::Path& folder);

/// A pooled row as an embedding: of length one if `normalize`.
std::vector<float> embedding_of(std::span<const float> row, bool normalize);
/// Of the angle between two embeddings, of whatever length.
double cosine(std::span<const float> x, std::span<const float> y);
/// Appends `row` as a JSON array, with the shortest numbers that give its floats again.
void append_vector(std::string& out, std::span<const float> row);

/// "mean", "cls", "last-token": as text-embeddings-inference calls them.
const char* name(models::Pooling pooling);

}  // namespace textmill::tasks
