#include "plan/job.h"

#include <gtest/gtest.h>

#include "plan/instance_type.h"

namespace textmill::plan {
namespace {

using enum AttemptState;

constexpr Machine kFree{4, 0}, kBusy{4, 3};
const AttemptEnd kDone{"completed", 0, "", ""}, kStopped{"stopped", 143, "", ""},
    kTimeout{"timeout", 143, "", ""}, kBad{"failed", 3, "no data", "program"},
    kUser{"failed", 0, "cannot start /x", "user"}, kPlatform{"failed", 0, "the disk broke", "platform"};

TEST(Job, Decisions) {
  const Finish stopped{"Stopped", "Stopped", ""}, late{"Stopped", "MaxWaitTimeExceeded", ""};
  const std::string lost = "the process that looked after the job ended before the job did";
  struct Row {
    const char* what;
    Job job;
    Machine machine;
    JobAction action;
  } rows[] = {
      {"there is room", {.cpus = 2}, kFree, Start{86400}},
      {"there is none", {.cpus = 2}, kBusy, Wait{"Waiting for capacity: 2 CPUs wanted, 3 of 4 in use"}},
      {"larger than the machine", {.cpus = 96}, kFree, Start{86400}},
      {"larger than the machine, which is busy",
       {.cpus = 96},
       kBusy,
       Wait{"Waiting for capacity: 4 CPUs wanted, 3 of 4 in use"}},
      {"another waits for room",
       {.cpus = 1},
       {4, 1, true},
       Wait{"Waiting for capacity: jobs that were made earlier go first"}},
      {"another waits, and there is none",
       {.cpus = 2},
       {4, 3, true},
       Wait{"Waiting for capacity: jobs that were made earlier go first"}},
      {"stopped before it began", {.stopping = true}, kFree, stopped},
      {"waited too long", {.most_wait = 50}, kBusy, late},
      {"was pending too long", {.most_pending = 50}, kBusy, late},
      {"ran before, pending does not count",
       {.ran = 10, .most_pending = 50, .ever_ran = true},
       kFree,
       Start{86390}},
      {"no time left to run",
       {.ran = 60, .most_run = 60},
       kFree,
       Finish{"Stopped", "MaxRuntimeExceeded", ""}},
      {"a rest of time to run", {.ran = 20, .most_run = 60}, kFree, Start{40}},
      {"committed, not begun", {.attempt = committed}, kBusy, Spawn{}},
      {"committed, stopped", {.stopping = true, .attempt = committed}, kFree, stopped},
      {"runs", {.attempt = running}, kFree, Nothing{}},
      {"runs, is to stop", {.stopping = true, .attempt = running}, kFree, AskToStop{}},
      {"runs, waited too long", {.attempt = running, .most_wait = 100}, kFree, AskToStop{}},
      {"done", {.attempt = ended, .end = kDone}, kFree, Finish{"Completed", "Completed", ""}},
      {"done while stopping", {.stopping = true, .attempt = ended, .end = kDone}, kFree, stopped},
      {"stopped", {.stopping = true, .attempt = ended, .end = kStopped}, kFree, stopped},
      {"stopped for waiting", {.attempt = ended, .end = kStopped, .most_wait = 50}, kFree, late},
      {"ran too long",
       {.attempt = ended, .end = kTimeout},
       kFree,
       Finish{"Stopped", "MaxRuntimeExceeded", ""}},
      {"failed",
       {.attempt = ended, .end = kBad, .retries = 3},
       kFree,
       Finish{"Failed", "Failed", "AlgorithmError: no data, exit code: 3"}},
      {"the user's fault",
       {.attempt = ended, .end = kUser, .retries = 3},
       kFree,
       Finish{"Failed", "Failed", "ClientError: cannot start /x"}},
      {"the platform's fault",
       {.attempt = ended, .end = kPlatform},
       kFree,
       Finish{"Failed", "Failed", "InternalServerError: the disk broke"}},
      {"the platform's fault, again",
       {.attempt = ended, .end = kPlatform, .retries = 1},
       kFree,
       Retry{"the disk broke"}},
      {"lost",
       {.attempt = AttemptState::lost},
       kFree,
       Finish{"Failed", "Failed", "InternalServerError: " + lost + "; nothing of it runs any more"}},
      {"lost, again", {.attempt = AttemptState::lost, .retries = 1}, kFree, Retry{lost}},
      {"lost, stopping", {.stopping = true, .attempt = AttemptState::lost, .retries = 1}, kFree, stopped},
  };
  for (const Row& row : rows) EXPECT_TRUE(decide(row.job, row.machine, 100) == row.action) << row.what;
}

TEST(Job, AReasonHolds1024Characters) {
  Job job{.attempt = ended, .end = {"failed", 7, std::string(5000, 'x'), "program"}};
  auto action = decide(job, kFree, 0);
  const auto& reason = std::get<Finish>(action).reason;
  EXPECT_EQ(reason.size(), 1024u);
  EXPECT_TRUE(reason.starts_with("AlgorithmError: xxx") && reason.ends_with("x, exit code: 7"));
}

TEST(Job, NextLook) {
  EXPECT_FALSE(next_look({.created = 5}));
  EXPECT_EQ(next_look({.created = 5, .most_wait = 10}), 15);
  EXPECT_EQ(next_look({.created = 5, .most_wait = 10, .most_pending = 3}), 8);
  EXPECT_EQ(next_look({.created = 5, .most_wait = 10, .most_pending = 3, .ever_ran = true}), 15);
}

TEST(InstanceType, Sizes) {
  constexpr int64_t kGiB = int64_t{1} << 30;
  struct Row {
    const char* type;
    int cpus;
    int64_t gib;
    bool gpus;
  };
  for (auto [type, cpus, gib, gpus] : {Row{"ml.m5.large", 2, 8, false},
                                       {"ml.m5.4xlarge", 16, 64, false},
                                       {"ml.c5.xlarge", 4, 8, false},
                                       {"ml.r5.2xlarge", 8, 64, false},
                                       {"ml.g4dn.xlarge", 4, 16, true},
                                       {"ml.p3.2xlarge", 8, 64, true},
                                       {"ml.box.3cpu", 3, 0, false}}) {
    auto size = instance_size(type);
    ASSERT_TRUE(size) << type;
    EXPECT_EQ(size->cpus, cpus) << type;
    EXPECT_EQ(size->memory, gib * kGiB) << type;
    EXPECT_EQ(size->gpus, gpus) << type;
  }
  for (const char* type :
       {"", "local", "ml.", "ml..large", "ml.m5", "ml.m5.huge", "ml.m5.0xlarge", "ml.box.9999999cpu"})
    EXPECT_FALSE(instance_size(type)) << type;
}

}  // namespace
}  // namespace textmill::plan
