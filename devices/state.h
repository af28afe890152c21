// How a device's state is described once and then both saved and restored.
//
// Each device keeps everything that must survive a snapshot in one struct with one function:
//
//   struct SerialState {
//     uint8_t interrupt_enable = 0;
//     std::vector<uint8_t> receive;
//     void describe(StateVisitor& visitor) {
//       visitor.field("interrupt_enable", interrupt_enable);
//       visitor.field("receive", receive, kMaxReceive);
//     }
//   };
//
// describe() is called with a StateWriter to save and with a StateReader to restore, so the two
// directions cannot drift apart. The encoding names each field:
//
//   u8 length of name, name, u32 bytes of value (little-endian), value
//
// A struct is nested by field("queue", queue_state); its value is its own fields. The reader takes
// foreign bytes: it checks every name and length, and after the first mismatch it changes nothing
// more and says which field was wrong. Judging the values is the device's work (valid()).
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "devices/result.h"

namespace thimble {

class StateVisitor;

template <class T>
concept DescribedState = requires(T& state, StateVisitor& visitor) { state.describe(visitor); };

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;

  // An integer or enum: its bytes.
  template <class T>
    requires((std::is_integral_v<T> && !std::is_same_v<T, bool>) || std::is_enum_v<T>)
  void field(std::string_view name, T& value) {
    bytes(name, std::span(reinterpret_cast<uint8_t*>(&value), sizeof(T)));
  }

  // A bool is not any byte: other values than 0 and 1 are refused.
  void field(std::string_view name, bool& value) {
    uint8_t byte = value ? 1 : 0;
    bytes(name, std::span(&byte, 1));
    if (byte > 1) return refuse(name);
    value = byte != 0;
  }

  // A nested struct that describes itself.
  template <DescribedState T>
  void field(std::string_view name, T& value) {
    begin(name);
    value.describe(*this);
    end(name);
  }

  // A kernel structure of fixed size (struct kvm_regs and the like), saved as its bytes.
  template <class T>
    requires(std::is_trivially_copyable_v<T> && std::is_class_v<T> && !DescribedState<T>)
  void field(std::string_view name, T& value) {
    bytes(name, std::span(reinterpret_cast<uint8_t*>(&value), sizeof(T)));
  }

  // Bytes of a length that varies, at most `limit`.
  virtual void field(std::string_view name, std::vector<uint8_t>& value, size_t limit) = 0;

  // A list of described structs, at most `limit`.
  template <DescribedState T>
  void list(std::string_view name, std::vector<T>& items, size_t limit) {
    begin(name);
    auto count = static_cast<uint32_t>(items.size());
    field("count", count);
    if (count <= limit) {
      items.resize(count);
      for (T& item : items) field("item", item);
    } else {
      refuse(name);
    }
    end(name);
  }

 protected:
  virtual void bytes(std::string_view name, std::span<uint8_t> value) = 0;
  virtual void begin(std::string_view name) = 0;
  virtual void end(std::string_view name) = 0;
  virtual void refuse(std::string_view name) = 0;
};

class StateWriter final : public StateVisitor {
 public:
  using StateVisitor::field;
  void field(std::string_view name, std::vector<uint8_t>& value, size_t limit) override;
  [[nodiscard]] std::vector<uint8_t> take() { return std::move(out_); }

 private:
  void bytes(std::string_view name, std::span<uint8_t> value) override;
  void begin(std::string_view name) override;
  void end(std::string_view name) override;
  void refuse(std::string_view) override {}
  void put_header(std::string_view name, size_t length);

  std::vector<uint8_t> out_;
  std::vector<size_t> open_;  // offsets of the length fields of structs being written
};

class StateReader final : public StateVisitor {
 public:
  explicit StateReader(std::span<const uint8_t> in) : in_(in) {}
  using StateVisitor::field;
  void field(std::string_view name, std::vector<uint8_t>& value, size_t limit) override;

  // Success only when every field matched and nothing is left over.
  [[nodiscard]] Result<void> finish() const;

 private:
  void bytes(std::string_view name, std::span<uint8_t> value) override;
  void begin(std::string_view name) override;
  void end(std::string_view name) override;
  void refuse(std::string_view name) override;
  // The value's length, or nothing after a mismatch.
  bool take_header(std::string_view name, size_t& length);

  std::span<const uint8_t> in_;
  size_t at_ = 0;
  std::vector<size_t> ends_;  // where the structs being read end
  std::string error_;
};

// Shorthands for a whole struct.
template <DescribedState T>
std::vector<uint8_t> save_state(T& state) {
  StateWriter writer;
  state.describe(writer);
  return writer.take();
}

template <DescribedState T>
Result<T> load_state(std::span<const uint8_t> in) {
  T state;
  StateReader reader(in);
  state.describe(reader);
  if (auto done = reader.finish(); !done) return std::unexpected(done.error());
  return state;
}

}  // namespace thimble
