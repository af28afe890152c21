# Payload guests, the library's example embedder, and the test binaries that are not unit tests.

# One ELF per file, entered like a kernel at 2 MiB.
PAYLOAD_SRC := $(sort $(wildcard tests/payload/guests/*.cpp))
PAYLOADS := $(patsubst tests/payload/guests/%.cpp,$(BUILD)/payload/%.elf,$(PAYLOAD_SRC))
PAYLOAD_FLAGS := -std=c++23 -Wall -Wextra -Werror -O1 -ffreestanding -fno-exceptions -fno-rtti \
  -fno-stack-protector -fno-pic -no-pie -fcf-protection=none -fno-asynchronous-unwind-tables \
  -mgeneral-regs-only -mno-red-zone -nostdlib -static -Wl,-Ttext=0x200000,-N,--build-id=none,--no-warn-rwx-segments

$(BUILD)/payload/%.elf: tests/payload/guests/%.cpp $(wildcard tests/payload/guests/*.h)
	@mkdir -p $(@D)
	g++ $(PAYLOAD_FLAGS) -o $@ $<

# tests/payload/count_ioctls.cpp stands between the machine and the kernel.
PAYLOAD_TEST_LINK := -Wl,--wrap=ioctl

$(BUILD)/tests/payload: $(call objects,$(sort $(wildcard tests/payload/*.cpp))) $(call lib,$(pool_LIBS)) | $(PAYLOADS)
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) $(PAYLOAD_TEST_LINK) -o $@ $(filter-out %.elf,$^) -lgtest -lgtest_main $(SYSTEM_LIBS)

# The embedder is built as a stranger would: against the installed header and library only.
$(BUILD)/tests/embed: tests/embed/embed.cpp $(call lib,$(vmm_LIBS)) vmm/include/thimble/machine.h
	@mkdir -p $(@D)
	@$(MAKE) --no-print-directory install-library PREFIX=$(abspath $(BUILD))/installed
	PKG_CONFIG_PATH=$(BUILD)/installed/lib/pkgconfig; export PKG_CONFIG_PATH; \
	$(CXX) -std=c++23 -Wall -Wextra -Werror -O2 -o $@ $< \
	  $$(pkg-config --cflags --libs thimble)

# A VMM process that misbehaves on purpose, in the jail that every VMM process gets.
$(BUILD)/tests/jail: $(call objects,$(sort $(wildcard tests/jail/*.cpp))) $(call lib,$(pool_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ -lgtest -lgtest_main $(SYSTEM_LIBS)

# Faults at every step: processes that are killed, and calls that fail (tests/faults/stepped.h).
STEPPED := $(BUILD)/obj/tests/faults/stepped.o $(BUILD)/obj/tests/faults/stepped_calls.o
$(BUILD)/tests/faults: $(STEPPED) $(BUILD)/obj/tests/faults/walk_test.o $(call lib,$(pool_LIBS)) | $(PAYLOADS)
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $(filter-out %.elf,$^) -lgtest -lgtest_main $(TEST_LIBS)

$(BUILD)/tests/kill_at: $(STEPPED) $(BUILD)/obj/tests/faults/kill_at.o $(call lib,devices)
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ $(TEST_LIBS)

# A Linux guest that is frozen again and again.
$(BUILD)/tests/freeze_linux: $(BUILD)/obj/tests/freeze/freeze_linux.o $(call lib,$(vmm_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ $(SYSTEM_LIBS)
$(BUILD)/tests/freeze_guest: $(BUILD)/obj/musl/tests/freeze/guest_load.o
	@mkdir -p $(@D)
	$(INIT_LINK) -static -no-pie -s -Wl,--gc-sections -Wl,--build-id=none -o $@ $^
$(BUILD)/tests/freeze_guest.cpio: $(BUILD)/tests/freeze_guest guest-init/make-initramfs
	guest-init/make-initramfs $< $@

# For the kernels of others: a static program for their initramfs, and a host of VM generation IDs.
$(BUILD)/kernels/vsock_echo: $(BUILD)/obj/musl/tests/kernels/vsock_echo.o
	@mkdir -p $(@D)
	$(INIT_LINK) -static -no-pie -s -o $@ $^

$(BUILD)/tests/generation: $(BUILD)/obj/tests/kernels/generation.o $(call lib,$(vmm_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ $(SYSTEM_LIBS)

.PHONY: payloads test-binaries
payloads: $(PAYLOADS)
test-binaries: unit-tests payloads $(BUILD)/tests/payload $(BUILD)/tests/embed $(BUILD)/tests/jail $(BUILD)/tests/faults \
  $(BUILD)/tests/kill_at \
  $(BUILD)/tests/freeze_linux $(BUILD)/tests/freeze_guest.cpio \
  $(BUILD)/kernels/vsock_echo $(BUILD)/tests/generation
