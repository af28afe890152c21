# thimble: build, demo, test, lint. `make help` lists the targets a user needs.
#
#   make demo   set everything up, build, and let a real MCP client talk to a server in a microVM
#   make test   set everything up, build, and run every test; ends with "N passed, N failed"
#   make install  program, library, headers, guest kernel, man pages: PREFIX=/usr/local DESTDIR=
#   make bench  count what starting, reading and talking cost, in the lab (docs/benchmarks.md)
#   make servers  try the servers that people install, and write docs/servers.md; ONLY="NAME…" for some
#
# Each room (vmm, devices, pool, mcp-agent, tools/image …) becomes one static library. A room's
# objects never name a library above them: design rule "dependencies point downwards".

BUILD ?= build
CXX ?= g++
CXXFLAGS ?= -O2 -g
AR ?= ar

STANDARD := -std=c++23 -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor
# Any object may become part of libthimble.so, which shows only what thimble.h declares.
HARDENING := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIC -fvisibility=hidden -fno-semantic-interposition
override CPPFLAGS += -I. -Ivmm/include -Idevices/include -MMD -MP -D_GNU_SOURCE
COMPILE = $(CXX) $(CPPFLAGS) $(STANDARD) $(HARDENING) $(CXXFLAGS)

sources = $(sort $(wildcard $(addsuffix /*.cpp,$(1)) $(addsuffix /*/*.cpp,$(1))))
# pool/image and pool/launch are libraries of their own: what makes VMs does without them.
objects = $(patsubst %.cpp,$(BUILD)/obj/%.o,$(1))

devices_SRC := $(call sources,devices)
vmm_SRC := $(call sources,vmm)
pool_SRC := $(filter-out pool/image/% pool/launch/%,$(call sources,pool))
images_SRC := $(call sources,pool/image)
launch_SRC := $(call sources,pool/launch)
agent_SRC := $(call sources,mcp-agent)
image_SRC := $(call sources,tools/image)
doctor_SRC := $(call sources,tools/doctor)
cli_SRC := $(call sources,tools/cli)

ROOMS := devices vmm pool images launch agent image doctor
$(foreach room,$(ROOMS),$(eval $(BUILD)/lib/libthimble_$(room).a: $(call objects,$($(room)_SRC))))

# What a room needs from below, in link order.
lib = $(foreach room,$(1),$(BUILD)/lib/libthimble_$(room).a)
devices_LIBS := devices
vmm_LIBS := vmm devices
pool_LIBS := pool vmm devices
agent_LIBS := agent pool vmm devices
image_LIBS := image images vmm devices
launch_LIBS := launch images pool vmm devices
doctor_LIBS := doctor vmm devices
all_LIBS := doctor image agent launch images pool vmm devices
SYSTEM_LIBS := -luring -lcap-ng -lcrypto -pthread
# Tests make filters of their own, to take calls away from what they test.
TEST_LIBS := -lseccomp $(SYSTEM_LIBS)
# The program carries all that it needs, at an address of the kernel's choice: what no dynamic linker
# has to find and join at each start is worth 5 million instructions (docs/benchmarks.md).
# libcap-ng's capng_change_id(), which nobody calls, would need the C library's name services.
PROGRAM_LIBS := -luring -lcap-ng -lcrypto -Wl,-O1,--gc-sections,-z,relro,-z,now,-z,pack-relative-relocs -pthread \
  -Wl,--wrap=initgroups,--defsym=__wrap_initgroups=abort,--wrap=getpwuid,--defsym=__wrap_getpwuid=abort

.PHONY: all demo test servers lint format clean help setup
all: $(BUILD)/bin/thimble $(BUILD)/bin/thimble-init $(BUILD)/thimble-init.cpio libraries lab-tools

help:
	@sed -n 's/^#   //p' Makefile

$(BUILD)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/obj/%.o: %.cpp $(BUILD)/obj/flags
	@mkdir -p $(@D)
	$(COMPILE) -c $< -o $@

# Objects that were compiled in another way are made anew.
ifneq ($(STANDARD) $(HARDENING),$(file <$(BUILD)/obj/flags))
.PHONY: $(BUILD)/obj/flags
endif
$(BUILD)/obj/flags:
	@mkdir -p $(@D)
	@echo '$(STANDARD) $(HARDENING)' >$@

# GoogleTest's macros cost the optimizer more time than the tests take to run.
$(BUILD)/obj/tests/unit/%.o $(BUILD)/obj/tests/payload/%.o: CXXFLAGS = -O1 -g1

$(BUILD)/bin/thimble: $(call objects,$(cli_SRC)) $(call lib,$(all_LIBS))
	@mkdir -p $(@D)
	$(CXX) -static-pie $(CXXFLAGS) -o $@ $^ $(PROGRAM_LIBS)

# ---- unit tests: one binary per room -------------------------------------------------------------
TEST_ROOMS := devices vmm pool launch agent image doctor
define unit_test
$(1)_TEST_SRC := $$(call sources,tests/unit/$(if $(filter agent,$(1)),mcp-agent,$(1)))
$(BUILD)/tests/$(1)_unit: $$(call objects,$$($(1)_TEST_SRC)) $(call lib,$($(1)_LIBS))
	@mkdir -p $$(@D)
	$$(CXX) -pie $$(CXXFLAGS) -o $$@ $$^ -lgtest -lgmock -lgtest_main $$(TEST_LIBS)
endef
$(foreach room,$(TEST_ROOMS),$(eval $(call unit_test,$(room))))
UNIT_TESTS := $(foreach room,$(TEST_ROOMS),$(BUILD)/tests/$(room)_unit)

include guest-init/init.mk pool/vm/vmm.mk vmm/capi/capi.mk tools/lab-box/lab.mk tools/cli/cli.mk tools/filters/filters.mk tools/bench/bench.mk tools/packaging/packaging.mk tests/tests.mk
include tests/fuzz/fuzz.mk tests/sanitize.mk

.PHONY: unit-tests unit-test-programs lab-tools
unit-tests: $(UNIT_TESTS)
# What tests/run is to run: none is built and then forgotten.
unit-test-programs:
	@printf '%s\n' $(UNIT_TESTS)
lab-tools:

demo test:
	@tools/setup/$@

servers:
	@tools/setup/prepare
	@node tests/servers/table.mjs $(ONLY)

lint:
	@tools/setup/lint

format:
	@clang-format-19 -i $$(git ls-files '*.cpp' '*.h')

clean:
	rm -rf $(BUILD)

-include $(shell [ -d $(BUILD)/obj ] && find $(BUILD)/obj -name '*.d')
