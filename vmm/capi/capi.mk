# The libraries for embedders: libthimble.so for C and whoever calls C, libthimble.a for C++ too.

ABI := 0
VERSION := $(shell sed -n 's/^.define THIMBLE_VERSION "\(.*\)"/\1/p' vmm/include/thimble/thimble.h)
SHARED_LIBRARY := $(BUILD)/lib/libthimble.so.$(VERSION)
SYMBOLS := vmm/capi/thimble.map

# The linker takes what the functions of thimble.h need, and shows nothing of it.
$(SHARED_LIBRARY): $(call objects,$(sort $(wildcard vmm/capi/*.cpp))) $(call lib,$(vmm_LIBS)) $(SYMBOLS)
	@mkdir -p $(@D)
	$(CXX) -shared $(CXXFLAGS) -Wl,-soname,libthimble.so.$(ABI),--version-script=$(SYMBOLS),-z,defs,-z,relro,-z,now \
	  -o $@ $(filter-out %.map,$^) -luring -pthread
	@ln -sf $(@F) $(BUILD)/lib/libthimble.so.$(ABI)
	@ln -sf libthimble.so.$(ABI) $(BUILD)/lib/libthimble.so

$(BUILD)/lib/libthimble.a: $(call objects,$(vmm_SRC) $(devices_SRC))

.PHONY: libraries
libraries: $(SHARED_LIBRARY) $(BUILD)/lib/libthimble.a
