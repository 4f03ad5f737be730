#include <fmt/format.h>

#include "server/controllers/controllers.h"
#include "server/controllers/cron_schedule.h"
#include "server/controllers/job.h"

namespace server::controllers {
namespace {

namespace batch = api::batch;
using JobPtr = std::shared_ptr<const batch::Job>;
constexpr const char* component = "cronjob-controller";

// Converges: the Jobs of a CronJob to one for each time of its schedule that has come, within its concurrency and history limits.
// A Job is named after its scheduled minute, so that none is made twice.
class CronJobs final : public Controller {
 public:
  explicit CronJobs(Context& c) : Controller(c), cronjobs_(watch<batch::CronJob>()), jobs_(informer<batch::Job>()) {
    index_by_owner(jobs_);
    jobs_.on_change([this](const JobPtr& before, const JobPtr& after) {
      const auto& m = (after ? after : before)->metadata;
      if (const auto* o = controller_of(m); o && o->kind == "CronJob") enqueue(m.namespace_, o->name);
    });
  }
  std::string_view name() const override { return "cronjob"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto cron = cronjobs_.get(key);
    if (!cron || deleting(cron->metadata)) co_return Requeue{};
    const auto now = base::WallClock::now();
    batch::CronJob changed = *cron;
    std::vector<JobPtr> jobs = jobs_.by_index(by_owner, cron->metadata.uid), active;
    changed.status.active.clear();
    for (const JobPtr& j : jobs) {
      if (!job_finished(*j)) {
        active.push_back(j);
        changed.status.active.push_back(api::reference_to(*j));
      } else if (!j->status.completionTime.empty() && time_of(j->status.completionTime) > time_of(changed.status.lastSuccessfulTime)) {
        changed.status.lastSuccessfulTime = j->status.completionTime;
      }
    }
    CO_CHECK_OK(co_await trim_history(*cron, jobs));
    Requeue again;
    auto schedule = CronSchedule::parse(cron->spec.schedule);
    Result<TimeZone> zone = TimeZone{};
    if (!cron->spec.timeZone.empty()) zone = TimeZone::load(cron->spec.timeZone);
    if (!schedule) {
      events_.warning(component, *cron, "UnparseableSchedule", fmt::format("unparseable schedule: {}", schedule.error().message));
    } else if (!zone) {
      events_.warning(component, *cron, "UnknownTimeZone", fmt::format("invalid timeZone: {}", zone.error().message));
    } else if (!cron->spec.suspend.value_or(false)) {
      if (auto due = last_due(*cron, *schedule, *zone, now)) {
        CO_TRY(bool started, co_await start(*cron, *due, active));
        if (started) changed.status.lastScheduleTime = base::rfc3339(*due);
      }
      if (auto next = schedule->next(now, *zone))
        again = std::chrono::duration_cast<Duration>(*next - now) + std::chrono::milliseconds(100);
    }
    if (!(changed.status == cron->status)) {
      auto r = co_await api::update_status(client_, std::move(changed));
      if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    }
    co_return again;
  }

 private:
  // The latest scheduled time that has passed and was not acted upon.
  static std::optional<WallTime> last_due(const batch::CronJob& c, const CronSchedule& schedule, const TimeZone& zone, WallTime now) {
    WallTime from = time_of(c.status.lastScheduleTime.empty() ? c.metadata.creationTimestamp : c.status.lastScheduleTime);
    if (c.spec.startingDeadlineSeconds) from = std::max(from, now - std::chrono::seconds(*c.spec.startingDeadlineSeconds));
    std::optional<WallTime> out;
    for (int i = 0; i < 100'000; ++i) {
      auto t = schedule.next(from, zone);
      if (!t || *t > now) break;
      out = from = *t;
    }
    return out;
  }

  Task<Result<bool>> start(const batch::CronJob& cron, WallTime due, const std::vector<JobPtr>& active) {
    auto minute = std::chrono::duration_cast<std::chrono::minutes>(due.time_since_epoch()).count();
    batch::Job job;
    job.metadata.name = fmt::format("{}-{}", cron.metadata.name.substr(0, 52), minute);
    job.metadata.namespace_ = cron.metadata.namespace_;
    if (jobs_.get(job.metadata.namespace_, job.metadata.name)) co_return true;
    if (!active.empty() && cron.spec.concurrencyPolicy == "Forbid") {
      events_.normal(component, cron, "JobAlreadyActive",
                     "Not starting job because prior execution is running and concurrency policy is Forbid");
      co_return false;
    }
    if (cron.spec.concurrencyPolicy == "Replace")
      for (const JobPtr& j : active) CO_CHECK_OK(co_await remove(cron, j));
    job.metadata.labels = cron.spec.jobTemplate.metadata.labels;
    job.metadata.annotations = cron.spec.jobTemplate.metadata.annotations;
    job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] = base::rfc3339(due);
    job.metadata.ownerReferences.push_back(controller_reference(cron));
    job.spec = cron.spec.jobTemplate.spec;
    std::string name = job.metadata.name;
    auto r = co_await api::create(client_, std::move(job));
    if (r) events_.normal(component, cron, "SuccessfulCreate", "Created job " + name);
    else if (!base::is_already_exists(r.error())) {
      events_.warning(component, cron, "FailedCreate", "Error creating job: " + r.error().message);
      co_return std::unexpected(std::move(r).error());
    }
    co_return true;
  }

  Task<Result<>> remove(const batch::CronJob& cron, JobPtr job) {
    api::DeleteOptions options;
    options.propagation_policy = "Background";
    auto r = co_await api::remove<batch::Job>(client_, {job->metadata.namespace_, job->metadata.name}, std::move(options));
    if (r) events_.normal(component, cron, "SuccessfulDelete", "Deleted job " + job->metadata.name);
    else if (!base::is_not_found(r.error())) co_return r;
    co_return Result<>{};
  }

  Task<Result<>> trim_history(const batch::CronJob& cron, std::vector<JobPtr> jobs) {
    std::sort(jobs.begin(), jobs.end(),
              [](const JobPtr& a, const JobPtr& b) { return a->metadata.creationTimestamp > b->metadata.creationTimestamp; });
    int32_t good = cron.spec.successfulJobsHistoryLimit.value_or(3), bad = cron.spec.failedJobsHistoryLimit.value_or(1);
    for (const JobPtr& j : jobs) {
      if (!job_finished(*j) || deleting(j->metadata)) continue;
      const auto* complete = find_condition(j->status.conditions, "Complete");
      int32_t& left = complete && complete->status == "True" ? good : bad;
      if (left-- > 0) continue;
      CO_CHECK_OK(co_await remove(cron, j));
    }
    co_return Result<>{};
  }

  api::Informer<batch::CronJob>& cronjobs_;
  api::Informer<batch::Job>& jobs_;
};

}  // namespace

Made make_cronjob(Context& c) { return std::make_unique<CronJobs>(c); }

}  // namespace server::controllers
