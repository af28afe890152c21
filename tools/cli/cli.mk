# The thimble binary's own rules: the initramfs inside it, and its unit tests.

$(BUILD)/obj/pool/launch/embedded_init.o: $(BUILD)/thimble-init.cpio
$(BUILD)/obj/pool/launch/embedded_init.o: override CPPFLAGS += -DTHIMBLE_INIT_CPIO='"$(BUILD)/thimble-init.cpio"'

# Everything of the binary but main().
cli_TEST_SRC := $(call sources,tests/unit/cli)
$(BUILD)/tests/cli_unit: $(call objects,$(cli_TEST_SRC)) \
    $(call objects,$(filter-out tools/cli/main.cpp,$(cli_SRC))) $(call lib,$(all_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ -lgtest -lgmock -lgtest_main $(SYSTEM_LIBS)
UNIT_TESTS += $(BUILD)/tests/cli_unit

# A run from end to end with guest-init's real session and no VM: needs both sides' objects.
server_run_TEST_SRC := $(call sources,tests/unit/server-run)
$(BUILD)/tests/server-run_unit: $(call objects,$(server_run_TEST_SRC)) \
    $(call objects,$(filter-out guest-init/main.cpp,$(init_SRC))) \
    $(call lib,$(agent_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ -lgtest -lgmock -lgtest_main $(SYSTEM_LIBS)
UNIT_TESTS += $(BUILD)/tests/server-run_unit
