# The system call filters, built by libseccomp here and carried as data.
FILTERS := $(BUILD)/generated/filter_programs
$(BUILD)/bin/make-filters: $(BUILD)/obj/tools/filters/make_filters.o \
    $(BUILD)/obj/vmm/jail/filter_tables.o $(BUILD)/obj/devices/text.o
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^ -lseccomp

$(FILTERS).cpp: $(BUILD)/bin/make-filters
	@mkdir -p $(@D)
	@$< > $@.partial && mv $@.partial $@

$(FILTERS).o: $(FILTERS).cpp
	$(COMPILE) -c $< -o $@

# Whoever has vmm/jail/filter.o needs it.
$(BUILD)/lib/libthimble_vmm.a $(BUILD)/lib/libthimble.a: $(FILTERS).o
$(foreach folder,fuzz tsan,$(BUILD)/$(folder)/libsanitized.a): $(FILTERS).o
-include $(FILTERS).d
