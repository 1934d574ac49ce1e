// logits MODEL --write OUT: writes the model again. logits MODEL [f32|bf16]: reads lines {"input_ids": [...], "attention_mask": [...], "token_type_ids": [...]} (the last
// two may be missing) or {"text": "...", "text_pair": "..."}, and writes a line [logit, ...] for each; all in one batch.

#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.h"
#include "format/json.h"
#include "tasks/encoder.h"

namespace textmill {
namespace {

tasks::PackedItem item(const tasks::Encoder& encoder, const format::JsonView& line) {
  auto numbers = [&](const char* name) {
    auto list = line.find(name);
    return list ? list->integers(INT64_MIN, INT64_MAX) : std::vector<int64_t>{};
  };
  if (auto text = line.find("text")) {
    auto pair = line.find("text_pair");
    return encoder.encode(text->string(),
                          pair ? std::optional<std::string_view>(pair->string()) : std::nullopt);
  }
  auto ids = numbers("input_ids"), mask = numbers("attention_mask"), types = numbers("token_type_ids");
  return encoder.unpad({ids, mask, types});
}

int write(const base::Path& from, const base::Path& to) {
  tasks::ModelFolder folder(from);
  auto model = folder.load();
  tasks::write_model_folder(to, folder, *model, folder.labels(), 32, {});
  return 0;
}

int run(int argc, char** argv) {
  if (argc > 3) return write(argv[1], argv[3]);
  bool bf16 = argc > 2 && std::string(argv[2]) == "bf16";
  tasks::Encoder encoder(argv[1], {{.format = bf16 ? nn::Format::bf16 : nn::Format::f32, .threads = 2}});
  std::vector<tasks::PackedItem> items;
  for (std::string line; std::getline(std::cin, line);) {
    format::Json json = format::parse_json(line, "stdin");
    items.push_back(item(encoder, format::JsonView(json, "stdin")));
  }
  std::vector<const tasks::PackedItem*> pointers;
  for (const auto& item : items) pointers.push_back(&item);
  std::vector<float> logits;
  encoder.run(pointers, logits);
  auto labels = static_cast<size_t>(encoder.width());
  for (size_t i = 0; i < items.size(); i++) {
    std::printf("[");
    for (size_t j = 0; j < labels; j++) std::printf("%s%.9g", j ? ", " : "", logits[i * labels + j]);
    std::printf("]\n");
  }
  return 0;
}

}  // namespace
}  // namespace textmill

int main(int argc, char** argv) {
  try {
    return textmill::run(argc, argv);
  } catch (const textmill::base::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return textmill::base::exit_status(error.kind());
  }
}
