// The program of a VM process (pool/vm/vmm_program.h): nothing but the machine and its jail.
#include <unistd.h>

#include "pool/vm/vm_main.h"

namespace {

// As start_in_jail() and VmProcess::start() pass them.
constexpr int kLifeline = STDERR_FILENO + 1;
constexpr int kBroker = kLifeline + 1;

}  // namespace

int main() { ::_exit(thimble::vmm_main(thimble::Fd(kLifeline), thimble::Fd(kBroker))); }
