#pragma once

#include "format/json.h"

namespace textmill::records {

/// Whether a document (as its describe call shows it) fulfils a SearchExpression of SageMaker's Search: Filters {Name,
/// Operator, Value}, NestedFilters {NestedPropertyName, Filters}, SubExpressions, joined by Operator. A name is a path
/// ("PrimaryContainer.Image"; "Tags.team" is the value of the tag team); lists match when one of their elements does;
/// values compare as numbers, or as times, where the document holds numbers. Throws invalid for an unknown operator.
bool matches(const format::Json& document, const format::Json& expression);

}  // namespace textmill::records
