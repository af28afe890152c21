// See vm_main.h.
#include "pool/vm/vm_main.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/prctl.h>

#include <array>
#include <cstdlib>
#include <utility>

#include "pool/vm/spec_message.h"
#include "pool/vm/thread_filters.h"
#include "pool/vm/vm_channel.h"
#include "pool/vm/vm_run.h"
#include "vmm/jail/jail.h"
#include "vmm/jail/page_map.h"
#include "vmm/jail/sanitized.h"

namespace thimble {

namespace {

// False: the VM is not wanted with less than all layers.
bool accept_exposure(const VmSpec& spec, int channel, const Confinement& confinement) {
  if (!spec.require_confinement) {
    send_vm_message(channel, VmMessageType::kExposed, 0, confinement.describe());
    return true;
  }
  send_vm_message(channel, VmMessageType::kRefused, 0,
                  "the host refuses to confine the VMM: " + confinement.describe());
  return false;
}

// What the C library takes by default is much for a process that exists a thousand times: a stack
// of 8 MiB, whose first touch the host may answer with a huge page of 2 MiB, and a heap of its own
// for each thread. Sanitizers need the large stacks.
void keep_memory_small() {
  constexpr size_t kStackBytes = 256UL * 1024;
  ::mallopt(M_ARENA_MAX, 1);
  pthread_attr_t attributes;
  if (kSanitized || ::pthread_attr_init(&attributes) != 0) return;
  ::pthread_attr_setstacksize(&attributes, kStackBytes);
  ::pthread_setattr_default_np(&attributes);
  ::pthread_attr_destroy(&attributes);
}

}  // namespace

int vmm_main(Fd lifeline, Fd channel) {
  Result<VmSpec> spec = fail("nothing to run");
  Confinement confinement = enter_jail(std::move(lifeline), std::array{channel.get()}, [&] {
    spec = receive_spec(channel.get());
    // A clone may be asked for its working set, and its memory reclaimed.
    if (spec && spec->snapshot) spec->machine.page_map = open_page_map();
  });
  if (!spec) {
    send_vm_message(channel.get(), VmMessageType::kRefused, 0, spec.error().message);
    return EXIT_FAILURE;
  }
  return run_vm_process(std::move(*spec), std::move(channel), std::move(confinement));
}

int run_vm_process(VmSpec spec, Fd channel, Confinement confinement) {
  ::prctl(PR_SET_NAME, kVmmName);
  keep_memory_small();
  auto filters = ThreadFilters::build(channel.get(), spec.warm);
  if (!filters) confinement.refuse(Layer::kFilters, filters.error().message);
  if (!confinement.complete() && !accept_exposure(spec, channel.get(), confinement)) {
    return EXIT_FAILURE;
  }
  VmRun run(std::move(spec), channel.get(), filters ? &*filters : nullptr);
  if (auto done = run.prepare(); !done) {
    send_vm_message(channel.get(), VmMessageType::kRefused, 0, done.error().message);
    return EXIT_FAILURE;
  }
  return run.run();
}

}  // namespace thimble
