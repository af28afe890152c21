# The program of a VM process, and how it gets into whatever starts VMs (pool/vm/vmm_program.h).
# Every VM executes it, so it is as small as it can be: without what the parent's side needs.

vmm_program_SRC := pool/vm/program/main.cpp \
  $(filter-out pool/vm/vm_process.cpp pool/vm/vmm_program.cpp pool/vm/bound_child.cpp,$(wildcard pool/vm/*.cpp))
VMM_PROGRAM_LIBS := $(filter-out -lcrypto,$(PROGRAM_LIBS))

$(BUILD)/bin/thimble-vmm: $(call objects,$(vmm_program_SRC)) $(call lib,vmm devices)
	@mkdir -p $(@D)
	$(CXX) -static-pie $(CXXFLAGS) -o $@ $^ $(VMM_PROGRAM_LIBS)

# Without what only debuggers read; they find it in the one above.
$(BUILD)/thimble-vmm: $(BUILD)/bin/thimble-vmm
	strip -o $@ $<

$(BUILD)/obj/pool/vm/vmm_program.o: $(BUILD)/thimble-vmm
$(BUILD)/obj/pool/vm/vmm_program.o: override CPPFLAGS += -DTHIMBLE_VMM='"$(BUILD)/thimble-vmm"'
