// The pages that a clone has changed, kept while its memory is reclaimed, each as its difference
// from the template's (page_difference.h):
//
//   4  number of the page, in guest order       4  bytes of its difference       the difference
//
// one after another, in memory of its own that goes with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "devices/result.h"
#include "vmm/reclaim/page_difference.h"

namespace thimble {

class Stash {
 public:
  // With room for so many pages; the host gives what is used of it.
  static Result<Stash> make(size_t pages);

  Stash(Stash&& other) noexcept;
  Stash& operator=(Stash&& other) = delete;
  Stash(const Stash&) = delete;
  ~Stash();

  // A page that is as it was takes no room.
  void add(uint32_t page, PageView before, PageView now);

  // `memory` shows the template again where pages were added, and gets what they had.
  void put_back(std::span<uint8_t> memory) const;

  [[nodiscard]] size_t bytes() const { return used_; }

 private:
  Stash(uint8_t* start, size_t room) : start_(start), room_(room) {}
  uint8_t* start_;
  size_t room_;
  size_t used_ = 0;
};

}  // namespace thimble
