// See boot_turn.h.
#include "pool/launch/boot_turn.h"

#include <sys/resource.h>

#include "devices/text.h"
#include "pool/daemon/runtime_folder.h"

namespace thimble::launch {

namespace {

constexpr int kBackgroundNice = 10;

Result<StartSlots> open_slots(unsigned count) {
  auto folder = runtime_folder();
  if (!folder) return std::unexpected(folder.error());
  auto starts = folder->make_folder("starts");
  if (!starts) return fail(starts.error().message);
  return StartSlots(std::move(*starts), count);
}

}  // namespace

Result<StartSlot> take_boot_turn(std::span<const std::string> wanted, bool verbose,
                                 const Say& say) {
  const auto count = boots_at_once();
  if (!count) return std::unexpected(count.error());
  if (*count == 0) return StartSlot();
  const auto say_that_it_waits = [&] {
    say(text("waiting for other VMs of yours to boot: %u do at a time (THIMBLE_BOOTS)", *count));
  };
  const auto slots = open_slots(*count);
  auto slot = slots ? slots->take(wanted, say_that_it_waits) : std::unexpected(slots.error());
  if (slot) return slot;
  if (verbose) say("booting without a turn: " + slot.error().message);
  return StartSlot();
}

Result<StartSlot> take_background_turn(const std::string& made, Fd passed_on) {
  const auto count = boots_at_once();
  if (!count) return std::unexpected(count.error());
  bool awaited = false;
  StartSlot slot;
  if (*count > 0) {
    const auto slots = open_slots(*count);
    auto taken = slots ? slots->take_in_background(made, awaited, std::move(passed_on))
                       : std::unexpected(slots.error());
    if (taken) slot = std::move(*taken);
  }
  if (!awaited) ::setpriority(PRIO_PROCESS, 0, kBackgroundNice);
  return slot;
}

}  // namespace thimble::launch
