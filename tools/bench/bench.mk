# The programs of the figures; see tools/bench/bench and docs/benchmarks.md.
#   make bench         measure everything in the lab's virtual time: build/bench/results.json
#   make bench-check   the same, and fail above 5 % of the last committed run
#   make bench-accept  make build/bench/results.json the committed run, and its table and plot docs

BENCH := $(BUILD)/bench
BENCH_HOST := stopwatch vsock_peer
BENCH_GUEST := bench_init disk_init vsock_init tick_init ping_server
BENCH_INITRDS := $(patsubst %,$(BENCH)/%.cpio,$(filter %_init,$(BENCH_GUEST)))

$(addprefix $(BENCH)/,$(BENCH_HOST)): $(BENCH)/%: $(BUILD)/obj/tools/bench/programs/%.o
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^

$(addprefix $(BENCH)/,$(BENCH_GUEST)): $(BENCH)/%: $(BUILD)/obj/musl/tools/bench/programs/%.o
	@mkdir -p $(@D)
	$(INIT_LINK) -static -no-pie -s -Wl,--gc-sections -Wl,--build-id=none -o $@ $^

$(BENCH_INITRDS): %.cpio: % guest-init/make-initramfs
	guest-init/make-initramfs $< $@

.PHONY: bench bench-check bench-accept bench-programs
bench-programs: $(addprefix $(BENCH)/,$(BENCH_HOST) $(BENCH_GUEST)) $(BENCH_INITRDS) $(BENCH)/clone_engine $(BENCH)/claims \
    $(BUILD)/payload/serial_echo.elf

bench: all bench-programs
	@tools/bench/bench run

bench-check: bench
	@tools/bench/bench check

bench-accept:
	@tools/bench/bench accept

# Needs the library; runs on the machine's own /dev/kvm. Its ioctl calls are looked at: first_exit.h.
CLONE_ENGINE := clone_engine clone_floor first_exit idle_machine
$(BENCH)/clone_engine: $(CLONE_ENGINE:%=$(BUILD)/obj/tools/bench/programs/%.o) $(call lib,$(vmm_LIBS)) | $(PAYLOADS)
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -Wl,--wrap=ioctl -o $@ $(filter-out %.elf,$^) $(SYSTEM_LIBS)

# Speaks to the pool's daemon as a program would that embeds the library.
CLAIMS := claims claimed_server pool_state
$(BENCH)/claims: $(CLAIMS:%=$(BUILD)/obj/tools/bench/programs/%.o) $(call lib,$(pool_LIBS))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ $(SYSTEM_LIBS)
