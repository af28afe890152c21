# Unit tests and payload guests under sanitizers, for the rooms that read foreign bytes. Built by
# clang, with the objects of the fuzzers where the two have files in common.
#
#   make sanitize           address and undefined behaviour: part of `make test`
#   make sanitize-threads   data races
# docs/fuzzing.md says what runs under which, and what does not.

SANITIZED_ROOMS := devices vmm pool
SANITIZED_SRC := $(foreach room,$(SANITIZED_ROOMS),$($(room)_SRC)) guest-init/codec.cpp
sanitized_vmm_SRC := $(vmm_program_SRC) $(vmm_SRC) $(devices_SRC) tests/sanitize/vmm_options.cpp
PAYLOAD_TEST_SRC := $(sort $(wildcard tests/payload/*.cpp))

# $(1): name of the folder below build/ with the objects.
in_folder = $(patsubst %.cpp,$(BUILD)/$(1)/obj/%.o,$(2))

define sanitized_test
$(BUILD)/$(1)/tests/$(2): $$(call in_folder,$(1),$(3)) $(BUILD)/$(1)/libsanitized.a
	@mkdir -p $$(@D)
	$$(FUZZ_CXX) -fsanitize=$(4) $(5) -o $$@ $$^ -lgtest -lgmock -lgtest_main $$(TEST_LIBS)
endef
define sanitized_folder
$(BUILD)/$(1)/libsanitized.a: $$(call in_folder,$(1),$$(SANITIZED_SRC))
	@rm -f $$@
	$$(AR) rcs $$@ $$^
# The program of VM processes, as pool/vm/vmm.mk has it: what the tests start is sanitized as they are.
$(BUILD)/$(1)/thimble-vmm: $$(call in_folder,$(1),$$(sanitized_vmm_SRC)) $(FILTERS).o
	$$(FUZZ_CXX) -fsanitize=$(2) -s -o $$@ $$^ -luring -lcap-ng -pthread
$(BUILD)/$(1)/obj/pool/vm/vmm_program.o: $(BUILD)/$(1)/thimble-vmm
$(BUILD)/$(1)/obj/pool/vm/vmm_program.o: FUZZ_FLAGS += -DTHIMBLE_VMM='"$(BUILD)/$(1)/thimble-vmm"'
$(foreach room,$(SANITIZED_ROOMS),$(eval $(call sanitized_test,$(1),$(room)_unit,$($(room)_TEST_SRC),$(2))))
$(eval $(call sanitized_test,$(1),payload,$(PAYLOAD_TEST_SRC),$(2),$(PAYLOAD_TEST_LINK)))
# The test looks for the guests beside its own folder.
$(BUILD)/$(1)/payload: | $(PAYLOADS)
	@ln -sfn ../payload $$@
$(BUILD)/$(1)/tests/payload: | $(BUILD)/$(1)/payload
endef
$(eval $(call sanitized_folder,fuzz,$(FUZZ_SANITIZERS)))
$(eval $(call sanitized_folder,tsan,thread))

$(BUILD)/tsan/obj/%.o: %.cpp
	@mkdir -p $(@D)
	$(FUZZ_CXX) $(FUZZ_FLAGS) -fsanitize=thread -c $< -o $@

SANITIZED_TESTS := $(foreach name,$(addsuffix _unit,$(SANITIZED_ROOMS)) payload,tests/$(name))
.PHONY: sanitize sanitize-threads
sanitize: $(addprefix $(BUILD)/fuzz/,$(SANITIZED_TESTS))
sanitize-threads: $(addprefix $(BUILD)/tsan/,$(SANITIZED_TESTS))

-include $(shell [ -d $(BUILD)/tsan/obj ] && find $(BUILD)/tsan/obj -name '*.d')
