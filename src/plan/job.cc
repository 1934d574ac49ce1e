#include "plan/job.h"

#include <fmt/format.h>

#include <algorithm>

namespace textmill::plan {

namespace {

std::optional<double> deadline(const Job& job) {
  std::optional<double> out;
  if (job.most_wait) out = job.created + *job.most_wait;
  if (job.most_pending && !job.ever_ran) {
    double pending = job.created + *job.most_pending;
    out = out ? std::min(*out, pending) : pending;
  }
  return out;
}

Finish stopped(const Job& job, double now) {
  auto end = deadline(job);
  bool late = !job.stopping && end && now >= *end;
  return {"Stopped", late ? "MaxWaitTimeExceeded" : "Stopped", ""};
}

JobAction begin(const Job& job, const Machine& machine, double now) {
  if (auto end = deadline(job); job.stopping || (end && now >= *end)) return stopped(job, now);
  if (job.ran >= job.most_run) return Finish{"Stopped", "MaxRuntimeExceeded", ""};
  if (machine.awaited) return Wait{"Waiting for capacity: jobs that were made earlier go first"};
  double wanted = std::min(job.cpus, machine.cpus);
  if (machine.used + wanted > machine.cpus)
    return Wait{fmt::format("Waiting for capacity: {:g} CPUs wanted, {:g} of {:g} in use", wanted,
                            machine.used, machine.cpus)};
  return Start{job.most_run - job.ran};
}

std::string reason(const AttemptEnd& end) {
  std::string_view prefix = end.by == "user"       ? "ClientError: "
                            : end.by == "platform" ? "InternalServerError: "
                                                   : "AlgorithmError: ";
  std::string tail = end.by == "program" ? fmt::format("exit code: {}", end.status) : "";
  if (end.text.empty()) return fmt::format("{}{}", prefix, tail);
  // 1024 characters hold the reason; what the program said gives way to its exit code.
  size_t room = 1024 - prefix.size() - tail.size() - 2;
  std::string text = end.text.substr(0, room);
  while (!text.empty() &&
         (static_cast<unsigned char>(end.text[std::min(text.size(), end.text.size() - 1)]) & 0xc0) == 0x80 &&
         text.size() < end.text.size())
    text.pop_back();
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return fmt::format("{}{}{}{}", prefix, text, tail.empty() ? "" : ", ", tail);
}

JobAction conclude(const Job& job, double now) {
  const AttemptEnd& end = job.end;
  if (end.outcome == "timeout") return Finish{"Stopped", "MaxRuntimeExceeded", ""};
  if (job.stopping || end.outcome == "stopped") return stopped(job, now);
  if (end.outcome == "completed") return Finish{"Completed", "Completed", ""};
  if (end.by == "platform" && job.retries > 0) return Retry{end.text};
  return Finish{"Failed", "Failed", reason(end)};
}

JobAction recover(const Job& job, double now) {
  if (job.stopping) return stopped(job, now);
  std::string what = "the process that looked after the job ended before the job did";
  if (job.retries > 0) return Retry{what};
  return Finish{"Failed", "Failed", "InternalServerError: " + what + "; nothing of it runs any more"};
}

}  // namespace

JobAction decide(const Job& job, const Machine& machine, double now) {
  switch (job.attempt) {
    case AttemptState::none: return begin(job, machine, now);
    case AttemptState::committed:
      if (job.stopping) return stopped(job, now);
      return Spawn{};
    case AttemptState::running: {
      auto end = deadline(job);
      if (job.stopping || (end && now >= *end)) return AskToStop{};
      return Nothing{};
    }
    case AttemptState::ended: return conclude(job, now);
    case AttemptState::lost: return recover(job, now);
  }
  return Nothing{};
}

std::optional<double> next_look(const Job& job) { return deadline(job); }

}  // namespace textmill::plan
