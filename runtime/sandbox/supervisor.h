// The pod supervisor: what runs in the process of its own that holds a pod.
#pragma once

namespace runtime {

// The cgroup of all supervisors, below the cgroup root: outside the pods', whose limits are not theirs.
inline constexpr char kSupervisorGroup[] = "/appliance-supervisors";

// The whole life of a supervisor; the return value is the exit code. The product starts a small executable of its own that is
// embedded in it and calls this; `appliance pod-supervisor` may do the same.
int supervisor_main(int argc, char** argv);

}  // namespace runtime
