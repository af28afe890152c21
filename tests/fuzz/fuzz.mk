# libFuzzer targets: one per file of tests/fuzz, built by clang with address and undefined-behaviour
# sanitizers in an object folder of their own. docs/fuzzing.md tells how to run them.
#
#   make fuzz                     every target for FUZZ_SECONDS (300), one after another
#   make fuzz FUZZ_TARGETS=vsock  that one
#   make fuzzers                  builds them; tests/run makes a short pass over each

FUZZ_CXX ?= clang++-19
FUZZ_SECONDS ?= 300
FUZZ_FLAGS := -std=c++23 -O1 -gline-tables-only -fno-omit-frame-pointer -I. -Ivmm/include -Idevices/include -MMD -MP -D_GNU_SOURCE
FUZZ_SANITIZERS := address,undefined

FUZZ_SRC := $(sort $(wildcard tests/fuzz/*.cpp))
FUZZ_TARGETS ?= $(patsubst tests/fuzz/%.cpp,%,$(FUZZ_SRC))
FUZZERS := $(patsubst tests/fuzz/%.cpp,$(BUILD)/fuzz/bin/%,$(FUZZ_SRC))

# Only what reads foreign bytes.
FUZZED_SRC := $(devices_SRC) $(sort $(wildcard vmm/load/*.cpp vmm/snapshot/*.cpp)) \
  vmm/cpu/cpuid.cpp vmm/kvm.cpp guest-init/codec.cpp \
  pool/vm/vm_channel.cpp pool/vm/console_tail.cpp pool/guest/control_codec.cpp pool/guest/guest_control.cpp \
  pool/vm/passed_descriptors.cpp pool/daemon/daemon_wire.cpp pool/guest/exec_wire.cpp

$(BUILD)/fuzz/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(FUZZ_CXX) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link,$(FUZZ_SANITIZERS) \
	  -fno-sanitize-recover=undefined -c $< -o $@

$(BUILD)/fuzz/libfuzzed.a: $(patsubst %.cpp,$(BUILD)/fuzz/obj/%.o,$(FUZZED_SRC))
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/fuzz/bin/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/libfuzzed.a
	@mkdir -p $(@D)
	$(FUZZ_CXX) -fsanitize=fuzzer,$(FUZZ_SANITIZERS) -o $@ $^ -luring -pthread

.PHONY: fuzz fuzzers
.SECONDARY: $(patsubst %.cpp,$(BUILD)/fuzz/obj/%.o,$(FUZZ_SRC))
fuzzers: $(FUZZERS)

fuzz: $(patsubst %,$(BUILD)/fuzz/bin/%,$(FUZZ_TARGETS))
	@BUILD=$(BUILD) tests/fuzz/run long $(FUZZ_SECONDS) $(FUZZ_TARGETS)

-include $(shell [ -d $(BUILD)/fuzz/obj ] && find $(BUILD)/fuzz/obj -name '*.d')
