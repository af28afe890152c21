# guest-init: static against musl, without the C++ library; and the initramfs around it.
# The same sources are compiled for the host by the general rule, for the unit tests.

INIT_CXX ?= g++
INIT_LINK ?= musl-gcc
MUSL_SPECS ?= /usr/lib/$(shell uname -m)-linux-musl/musl-gcc.specs

init_SRC := $(sort $(wildcard guest-init/*.cpp))
init_OBJ := $(patsubst %.cpp,$(BUILD)/obj/musl/%.o,$(init_SRC))
# -idirafter: musl has no kernel headers; the system's come last, so that its C library's stay out.
INIT_FLAGS := -std=c++23 -Os -Wall -Wextra -Werror -Wshadow -fno-exceptions -fno-rtti -nostdinc++ \
  -fno-threadsafe-statics -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections \
  -fno-pie -I. -D_GNU_SOURCE -MMD -MP
INIT_KERNEL_HEADERS := -idirafter /usr/include -idirafter /usr/include/$(shell uname -m)-linux-gnu

$(BUILD)/obj/musl/%.o: %.cpp
	@mkdir -p $(@D)
	$(INIT_CXX) -specs=$(MUSL_SPECS) $(INIT_FLAGS) $(INIT_KERNEL_HEADERS) -c $< -o $@

$(BUILD)/bin/thimble-init: $(init_OBJ)
	@mkdir -p $(@D)
	$(INIT_LINK) -static -no-pie -s -Wl,--gc-sections -Wl,--build-id=none -o $@ $^

$(BUILD)/thimble-init.cpio: $(BUILD)/bin/thimble-init guest-init/make-initramfs
	guest-init/make-initramfs $< $@

init_TEST_SRC := $(call sources,tests/unit/guest-init)
$(BUILD)/tests/guest-init_unit: $(call objects,$(init_TEST_SRC) $(filter-out guest-init/main.cpp,$(init_SRC)))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ -lgtest -lgmock -lgtest_main -pthread

UNIT_TESTS += $(if $(init_TEST_SRC),$(BUILD)/tests/guest-init_unit)

# What reseeds a runtime's random numbers in a clone. It is part of node's images, so it is compiled
# for the C library of Debian, and it lies inside the thimble binary. What is in guest-init/reseed has
# the name there that it has in images, whose keys hold a digest of it all: another name, or one byte
# more, and every image of node and python is made anew.
$(BUILD)/renew.so: guest-init/reseed/renew.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++23 -O2 -Wall -Wextra -Werror -Wshadow -fPIC -shared -fvisibility=hidden \
	  -fno-exceptions -fno-rtti -s -Wl,--build-id=none -o $@ $<

$(BUILD)/obj/pool/image/reseed.o $(BUILD)/obj/tools/image/reseed_files.o: $(BUILD)/renew.so $(wildcard guest-init/reseed/*)
# In the order of reseed_digest()'s parts. Each start of a server asks for it.
RESEED_DIGEST = $(shell cat $(BUILD)/renew.so \
  $(addprefix guest-init/reseed/,renew.cjs compile_ahead.cjs thimble_renew.py) | sha256sum | cut -c1-16)
$(BUILD)/obj/tools/image/reseed_files.o: override CPPFLAGS += \
  -DTHIMBLE_RESEED='"guest-init/reseed"' -DTHIMBLE_RESEED_SO='"$(BUILD)/renew.so"'
$(BUILD)/obj/pool/image/reseed.o: override CPPFLAGS += -DTHIMBLE_RESEED_DIGEST='"$(RESEED_DIGEST)"'
