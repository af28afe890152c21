// The program of a VM process that the library carries (pool/vm/vmm_program.h): nothing but the
// machine and its jail.
#include <unistd.h>

#include "pool/vm/vm_main.h"

int main() {
  using namespace thimble;
  ::_exit(vmm_main(Fd(kVmmLifeline), Fd(kVmmChannel)));
}
