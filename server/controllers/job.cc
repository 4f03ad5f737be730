#include "server/controllers/job.h"

#include "server/controllers/controllers.h"
#include "server/controllers/pods.h"

namespace server::controllers {
namespace {

namespace batch = api::batch;
constexpr const char* component = "job-controller";

// Converges: the pods of a Job to as many completions as it asks for, and its conditions to how that went; removes it after its time to live.
class Jobs final : public Controller {
 public:
  explicit Jobs(Context& c) : Controller(c), jobs_(watch<batch::Job>()), pods_(c) {
    pods_.watch_pods(
        batch::Job::kind_info(), [this](std::string key) { queue().add(std::move(key)); },
        [this](const core::Pod& orphan) {
          for (const auto& j : jobs_.list(orphan.metadata.namespace_))
            if (j->spec.selector && api::selects(*j->spec.selector, orphan.metadata.labels)) enqueue(j->metadata);
        });
  }
  std::string_view name() const override { return "job"; }

  Task<Result<Requeue>> reconcile(ObjectKey key) override {
    auto job = jobs_.get(key);
    if (!job || deleting(job->metadata) || !pods_.expectations().satisfied(key.text())) co_return Requeue{};
    if (!job->spec.managedBy.empty() && job->spec.managedBy != "kubernetes.io/job-controller") co_return Requeue{};
    Owner owner = owner_of(*job, component);
    std::vector<PodPtr> pods = pods_.informer().by_index(by_owner, job->metadata.uid);
    if (!job_finished(*job) && job->spec.selector) {
      CO_TRY(pods, co_await pods_.claim(owner, *job->spec.selector, false));
    }
    JobPlan plan = plan_job(*job, pods, base::WallClock::now());
    if (plan.expired) co_return co_await remove(*job);
    // The verdict is written before pods go, which are what it rests on.
    bool ends = decided(plan.status) && !decided(job->status);
    if (ends) CO_CHECK_OK(co_await write(*job, plan.status));
    Result<> managed = co_await pods_.remove_many(owner, std::move(plan.remove));
    if (managed && !plan.create.empty()) {
      auto made = co_await pods_.create_many(owner, std::move(plan.create));
      managed = std::move(made.second);
    }
    if (!ends && !(plan.status == job->status)) CO_CHECK_OK(co_await write(*job, plan.status));
    if (!managed) co_return std::unexpected(std::move(managed).error());
    if (plan.again) co_return Requeue{std::chrono::duration_cast<Duration>(*plan.again) + std::chrono::milliseconds(10)};
    co_return Requeue{};
  }

 private:
  static bool decided(const batch::JobStatus& s) {
    return find_condition(s.conditions, "SuccessCriteriaMet") || find_condition(s.conditions, "FailureTarget");
  }

  Task<Result<>> write(const batch::Job& job, batch::JobStatus status) {
    batch::Job changed = job;
    changed.status = std::move(status);
    auto r = co_await api::update_status(client_, std::move(changed));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    if (!r) co_return Result<>{};
    for (const auto& c : r->status.conditions) {
      const auto* before = find_condition(job.status.conditions, c.type);
      if (c.status != "True" || (before && before->status == "True")) continue;
      if (c.type == "Complete") events_.normal(component, job, "Completed", "Job completed");
      if (c.type == "Failed") events_.warning(component, job, c.reason, c.message);
      if (c.type == "Suspended") events_.normal(component, job, "Suspended", "Job suspended");
    }
    co_return Result<>{};
  }

  Task<Result<Requeue>> remove(const batch::Job& job) {
    api::DeleteOptions options;
    options.uid = job.metadata.uid;
    options.propagation_policy = "Foreground";
    auto r = co_await api::remove<batch::Job>(client_, {job.metadata.namespace_, job.metadata.name}, std::move(options));
    if (!r && !base::is_not_found(r.error())) co_return std::unexpected(std::move(r).error());
    co_return Requeue{};
  }

  api::Informer<batch::Job>& jobs_;
  PodControl pods_;
};

}  // namespace

Made make_job(Context& c) { return std::make_unique<Jobs>(c); }

}  // namespace server::controllers
