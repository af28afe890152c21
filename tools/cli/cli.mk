# The thimble binary's own rules: the initramfs inside it, and its unit tests.

$(BUILD)/obj/tools/cli/embedded_init.o: $(BUILD)/thimble-init.cpio
$(BUILD)/obj/tools/cli/embedded_init.o: override CPPFLAGS += -DTHIMBLE_INIT_CPIO='"$(BUILD)/thimble-init.cpio"'

# Everything of the binary but main().
cli_TEST_SRC := $(call sources,tests/unit/cli)
$(BUILD)/tests/cli_unit: $(call objects,$(cli_TEST_SRC)) \
    $(call objects,$(filter-out tools/cli/main.cpp,$(cli_SRC))) $(call lib,$(all_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ -lgtest -lgmock -lgtest_main $(SYSTEM_LIBS)
UNIT_TESTS += $(BUILD)/tests/cli_unit
