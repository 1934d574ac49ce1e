#pragma once

#include "data/schema.h"
#include "format/json.h"

namespace textmill::tasks {

/// A model's config.json remembers the columns that it was trained on, where they have names: as "columns" of
/// text-classification in "task_specific_params", the member that transformers has for such things.
void set_columns(format::Json& config, const data::Columns& columns);

/// What to ask of a file that the model in `folder` reads: texts and label that `asked` leaves open are those that the model
/// remembers, of a file that has them.
data::Columns columns_for(const base::Path& folder, const data::Columns& asked);

}  // namespace textmill::tasks
