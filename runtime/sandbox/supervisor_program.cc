// The supervisor as an executable of its own, embedded in the product (embedded.cc). Small on purpose: each pod pays for the pages it
// writes, and relocating the whole product would cost more than the supervisor's state.
#include "runtime/sandbox/supervisor.h"

int main(int argc, char** argv) { return runtime::supervisor_main(argc, argv); }
