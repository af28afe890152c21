# Installation. An installed thimble needs no source tree: it finds its kernel beside itself.
PREFIX ?= /usr/local
DESTDIR ?=
INSTALLED = $(DESTDIR)$(PREFIX)

PACKAGING := tools/packaging
LIBRARY_HEADERS := $(wildcard vmm/include/thimble/*.h devices/include/thimble/*.h)
HEADER := vmm/include/thimble/thimble.h
fill_in = sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|'

# $(1): its name and section
man_page = $(PACKAGING)/man-page $(PACKAGING)/$(1).in $(INSTALLED)/share/man/man$(subst .,,$(suffix $(1)))/$(1) \
  $(PREFIX) $(VERSION) $(BUILD)/bin/thimble $(HEADER)

.PHONY: install install-library install-kernel install-program install-manual
install: install-library install-program install-manual install-kernel

# Without what only debuggers read: build/ keeps it.
install-library: libraries
	@install -d $(INSTALLED)/lib/pkgconfig $(INSTALLED)/include/thimble
	@strip --strip-debug -o $(INSTALLED)/lib/libthimble.a $(BUILD)/lib/libthimble.a
	@strip --strip-unneeded -o $(INSTALLED)/lib/$(notdir $(SHARED_LIBRARY)) $(SHARED_LIBRARY)
	@ln -sf $(notdir $(SHARED_LIBRARY)) $(INSTALLED)/lib/libthimble.so.$(ABI)
	@ln -sf libthimble.so.$(ABI) $(INSTALLED)/lib/libthimble.so
	@install -m 644 $(LIBRARY_HEADERS) $(INSTALLED)/include/thimble/
	@for name in thimble thimble-cpp; do \
	  $(fill_in) $(PACKAGING)/$$name.pc.in >$(INSTALLED)/lib/pkgconfig/$$name.pc || exit; done

install-program: all
	@install -d $(INSTALLED)/bin $(INSTALLED)/lib/systemd/user $(INSTALLED)/share/bash-completion/completions
	@strip -o $(INSTALLED)/bin/thimble $(BUILD)/bin/thimble
	@install -m 644 tools/systemd/thimble.socket $(INSTALLED)/lib/systemd/user/
	@$(fill_in) tools/systemd/thimble.service.in >$(INSTALLED)/lib/systemd/user/thimble.service
	@install -m 644 $(PACKAGING)/completion.bash $(INSTALLED)/share/bash-completion/completions/thimble

install-manual: all
	@install -d $(INSTALLED)/share/man/man1 $(INSTALLED)/share/man/man3 $(INSTALLED)/share/doc/thimble/examples
	@$(call man_page,thimble.1)
	@$(call man_page,thimble.3)
	@install -m 644 $(wildcard tests/embed/*.c tests/embed/*.cpp) $(INSTALLED)/share/doc/thimble/examples/

# The kernel that tools/kernel has built for this tree, if it has; tools/setup/prepare links it.
install-kernel:
	@if kernel=$$(tools/kernel path 2>/dev/null) || kernel=$$(readlink -e $(BUILD)/vmlinux); then \
	  install -d $(INSTALLED)/lib/thimble && install -m 644 $$kernel $(INSTALLED)/lib/thimble/vmlinux; \
	else echo "install: no guest kernel is built: tools/kernel build, then make install-kernel"; fi
