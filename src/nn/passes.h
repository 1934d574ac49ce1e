#pragma once

#include "nn/plan.h"

namespace textmill::nn {

// The passes of make_plan, in their order. Each leaves a plan that an executor could run.

/// The same model over fewer rows: what `rows` picks at the end is picked as early as possible. Row-wise
/// operations and the queries of attention move into the picked rows; keys, values, means and losses stay
/// whole.
Recording narrow(const Recording& whole);

/// Forward steps, then the backward pass: the recording read in reverse, with regions recomputed where asked.
void derive_steps(Plan& plan);

/// Joins each final linear layer with its cross-entropy into one head step.
void fuse_heads(Plan& plan);

/// Fills reads and writes of all steps; drops forward steps that nobody reads.
void drop_unread(Plan& plan);

/// Brings the steps of each pattern together and marks groups.
void group_steps(Plan& plan);

/// Lets tensors share memory where reads and writes prove it safe, and sets lifetimes.
void share_memory(Plan& plan);

/// Each element of the result depends on the same element of the inputs alone: may be computed in place.
bool is_elementwise(Kind kind);
/// Add without gate or mask: its gradient is its output's, unchanged.
bool is_plain_add(const Op& op);
bool is_loss(Kind kind);

}  // namespace textmill::nn
