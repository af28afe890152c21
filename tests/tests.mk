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

# The examples are built as a stranger would: against what is installed only.
PREFIX_OF_TESTS := $(abspath $(BUILD))/installed
INSTALLED_LIBRARY := $(BUILD)/installed/lib/pkgconfig/thimble.pc
$(INSTALLED_LIBRARY): $(SHARED_LIBRARY) $(BUILD)/lib/libthimble.a $(LIBRARY_HEADERS) $(wildcard $(PACKAGING)/*.pc.in)
	@rm -rf $(BUILD)/installed/include
	@$(MAKE) --no-print-directory install-library PREFIX=$(PREFIX_OF_TESTS) DESTDIR=
flags_of = $$(PKG_CONFIG_PATH=$(BUILD)/installed/lib/pkgconfig pkg-config --cflags --libs $(1))

$(BUILD)/tests/embed $(BUILD)/tests/clones_cpp: $(INSTALLED_LIBRARY)
	@mkdir -p $(@D)
	$(CXX) -std=c++23 -Wall -Wextra -Werror -O2 -o $@ $(filter %.cpp,$^) $(call flags_of,thimble-cpp)
$(BUILD)/tests/embed: tests/embed/embed.cpp
$(BUILD)/tests/clones_cpp: tests/embed/clones.cpp
$(BUILD)/tests/clones_c: tests/embed/clones.c $(INSTALLED_LIBRARY)
	@mkdir -p $(@D)
	$(CC) -std=c11 -Wall -Wextra -pedantic -Werror -O2 -o $@ $< $(call flags_of,thimble) \
	  -Wl,-rpath,$(PREFIX_OF_TESTS)/lib
$(BUILD)/tests/embed_guest: tests/embed/guest.c
	@mkdir -p $(@D)
	$(INIT_LINK) -static -s -O2 -o $@ $<
$(BUILD)/tests/embed_guest.cpio: $(BUILD)/tests/embed_guest guest-init/make-initramfs
	guest-init/make-initramfs $< $@
EXAMPLES := $(addprefix $(BUILD)/tests/,embed clones_c clones_cpp embed_guest.cpio)

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
test-binaries: unit-tests payloads $(BUILD)/tests/payload $(EXAMPLES) $(BUILD)/tests/jail $(BUILD)/tests/faults \
  $(BUILD)/tests/kill_at \
  $(BUILD)/tests/freeze_linux $(BUILD)/tests/freeze_guest.cpio \
  $(BUILD)/kernels/vsock_echo $(BUILD)/tests/generation
