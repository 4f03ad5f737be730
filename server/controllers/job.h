// Job: runs pods to completion. The pure part: what to start and stop, and when it is over.
#pragma once

#include <set>

#include "api/types/batch_v1.h"
#include "server/controllers/objects.h"

namespace server::controllers {

struct JobPlan {
  std::vector<api::core::Pod> create;
  std::vector<PodPtr> remove;
  api::batch::JobStatus status;
  std::optional<base::WallClock::duration> again;
  bool expired = false;  // finished longer ago than ttlSecondsAfterFinished
};
// `pods` are all the Job controls, finished ones too.
JobPlan plan_job(const api::batch::Job& job, const std::vector<PodPtr>& pods, WallTime now);

bool job_finished(const api::batch::Job& job);
// "0-2,5": how Jobs write sets of indexes.
std::string index_ranges(const std::vector<int32_t>& sorted);
// Those below `end` of a text of that form.
std::set<int32_t> parse_indexes(std::string_view text, int32_t end);

// What the Job's podFailurePolicy makes of a failed pod, with the words for a condition.
enum class FailureAction : uint8_t { count, ignore, fail_index, fail_job };
struct Verdict {
  FailureAction action = FailureAction::count;
  std::string message;
};
Verdict judge_failure(const api::batch::Job& job, const api::core::Pod& pod);
// The first rule of its successPolicy that the succeeded indexes satisfy.
std::optional<size_t> satisfied_rule(const api::batch::Job& job, const std::set<int32_t>& done);

// The completion index of an Indexed Job's pod.
std::optional<int32_t> completion_index(const api::core::Pod& pod);

}  // namespace server::controllers
