# The lab's three programs and what is loaded into its QEMU; tools/lab builds them itself when they
# are missing or out of date.
lab_common_SRC := $(addprefix tools/lab-box/,link.cpp streams.cpp command.cpp)
lab_agent_SRC := $(lab_common_SRC) $(addprefix tools/lab-box/,agent_main.cpp boot.cpp session.cpp process.cpp relay.cpp)
lab_client_SRC := $(lab_common_SRC) $(addprefix tools/lab-box/,client_main.cpp monitor.cpp)
lab_keeper_SRC := tools/lab-box/keeper_main.cpp

lab-tools: $(addprefix $(BUILD)/bin/,lab-agent lab-client lab-keeper lab-qemu-faults.so)

# Static, because it is the only program of the box's initramfs; without debug information, because
# its bytes travel through an emulated machine at every start.
$(BUILD)/bin/lab-agent: $(call objects,$(lab_agent_SRC))
	@mkdir -p $(@D)
	$(CXX) -static -s $(CXXFLAGS) -o $@ $^

$(BUILD)/bin/lab-client: $(call objects,$(lab_client_SRC))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^

$(BUILD)/bin/lab-keeper: $(call objects,$(lab_keeper_SRC))
	@mkdir -p $(@D)
	$(CXX) -pie $(CXXFLAGS) -o $@ $^

lab_qemu_SRC := $(addprefix tools/lab-box/,event_injection.cpp interrupt_shadow.cpp lost_interrupts.cpp)
$(BUILD)/bin/lab-qemu-faults.so: $(lab_qemu_SRC) tools/lab-box/qemu_functions.h
	@mkdir -p $(@D)
	$(CXX) $(filter-out -MMD -MP,$(CPPFLAGS)) $(STANDARD) $(HARDENING) $(CXXFLAGS) -fPIC -shared -s -o $@ $(lab_qemu_SRC)
