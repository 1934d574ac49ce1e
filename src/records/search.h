#pragma once

#include <string_view>
#include <vector>

#include "format/json.h"

namespace textmill::records {

/// Whether a document (as its describe call shows it) fulfils a SearchExpression of SageMaker's Search: Filters {Name,
/// Operator, Value}, NestedFilters {NestedPropertyName, Filters}, SubExpressions, joined by Operator. A name is a path
/// ("PrimaryContainer.Image"; "Tags.team" is the value of the tag team, "Metrics.loss" that of FinalMetricDataList);
/// lists match when one of their elements does; values compare as numbers where both are, or as times, where the document
/// holds numbers. Throws invalid for an unknown operator.
bool matches(const format::Json& document, const format::Json& expression);

/// By the first value at a path, numbers before texts; documents without one come last. Throws invalid if none has it.
void sort_by(std::vector<format::Json>& documents, std::string_view path, bool descending);

}  // namespace textmill::records
