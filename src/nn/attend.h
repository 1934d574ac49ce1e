#pragma once

#include "nn/record.h"

namespace textmill::nn {

/// Keys [begin, end) of its sequence that a query sees; none if end <= begin.
struct KeyRange {
  int begin, end;
};

/// For a query at `position` of a sequence that has `length` keys. Key j of a sequence stands at position j.
/// [from, to) is the row's own range, if the operation has one.
KeyRange visible_keys(const AttendSpec& spec, int position, int length, const int* from, const int* to);

/// The row of T5's bias for a key `relative` positions behind (negative: before) the query (Raffel et al.
/// 2020): half of the buckets for single distances, the rest growing as the logarithm up to max_distance. In
/// f32, like the models.
int relative_bucket(int relative, int buckets, int max_distance, bool bidirectional);

}  // namespace textmill::nn
