#include "tasks/columns.h"

#include <filesystem>

namespace textmill::tasks {

using format::Json;
using format::JsonView;

namespace {

constexpr const char* kParameters = "task_specific_params";
constexpr const char* kTask = "text-classification";

Json member_of(const Json& object, std::string_view name) {
  const Json* member = object.find(name);
  return member && member->object() ? *member : Json::object({});
}

}  // namespace

void set_columns(Json& config, const data::Columns& columns) {
  Json names = Json::object({});
  for (const auto& [role, name] :
       {std::pair{"text", columns.text}, {"text_pair", columns.text_pair}, {"label", columns.label}}) {
    if (!name.empty()) names.set(role, name);
  }
  if (names.object()->empty() && !config.find(kParameters)) return;
  Json parameters = member_of(config, kParameters), task = member_of(parameters, kTask);
  task.set("columns", std::move(names));
  parameters.set(kTask, std::move(task));
  config.set(kParameters, std::move(parameters));
}

data::Columns columns_for(const base::Path& folder, const data::Columns& asked) {
  base::Path file = folder / "config.json";
  if (!std::filesystem::exists(file)) return asked;
  Json config = format::read_json(file);
  Json task = member_of(member_of(config, kParameters), kTask), columns = member_of(task, "columns");
  JsonView view(columns, file.string() + ": columns");
  data::Columns all = asked;
  if (asked.text.empty() && asked.text_pair.empty()) {
    all.text = view.get_string("text", "");
    all.text_pair = view.get_string("text_pair", "");
    all.texts_if_there = all.pair_may_lack = true;
  }
  if (asked.label.empty()) {
    all.label = view.get_string("label", "");
    all.label_if_there = true;
  }
  return all;
}

}  // namespace textmill::tasks
