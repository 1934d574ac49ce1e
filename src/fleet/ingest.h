#pragma once

#include <string>

#include "fleet/journal.h"
#include "fleet/task.h"
#include "records/training_job.h"
#include "store/store.h"

namespace textmill::fleet {

inline constexpr std::string_view kTrainingLogGroup = "/aws/sagemaker/TrainingJobs";

/// The group's number; made if it is not there.
int64_t enter_log_group(store::Connection& connection, const records::Resources& resources,
                        std::string_view name);
/// "job/algo-1-1700000000"
std::string log_stream_name(const std::string& job, const std::string& host, base::WallTime begun);

/// Takes what is new in an attempt's journal: logs, metrics, objects, statuses, together with how far it was read, as one
/// fact. True if there was something. `attempt` is moved on with it.
bool ingest(store::Store& store, const records::Resources& resources, const AttemptFolder& folder,
            const std::string& job, records::Attempt& attempt);

}  // namespace textmill::fleet
