// See rpc_line.h.
#include "tools/cli/rpc_line.h"

#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>

namespace thimble::cli {

namespace {

constexpr double kExact = 9007199254740992.0;  // 2^53: up to here doubles are integers exactly

// Hears of the parts of a line, in order. Messages are at depth 1, in a batch at depth 2.
class Reader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<RpcMessage> take() { return std::move(messages_); }

  bool null() override { return true; }
  bool boolean(bool /*value*/) override { return true; }
  bool number_integer(int64_t value) override { return scalar("n" + std::to_string(value)); }
  bool number_unsigned(uint64_t value) override { return scalar("n" + std::to_string(value)); }
  bool number_float(double value, const std::string& text) override {
    const bool whole = std::fabs(value) < kExact && std::nearbyint(value) == value;
    return scalar("n" + (whole ? std::to_string(static_cast<int64_t>(value)) : text));
  }
  bool string(std::string& value) override {
    if (depth_ == level_ && key_ == "method") {
      method_ = value;
      has_text_method_ = true;
    }
    return scalar("s" + value);
  }
  bool binary(binary_t& /*value*/) override { return true; }
  bool key(std::string& name) override {
    if (depth_ == level_) begin_field(name);
    if (depth_ == level_ + 1) inner_key_ = name;
    return true;
  }
  bool start_object(size_t /*elements*/) override {
    if (++depth_ == level_) begin_message();
    return true;
  }
  bool end_object() override {
    if (depth_-- == level_) end_message();
    return true;
  }
  bool start_array(size_t /*elements*/) override {
    if (depth_ == 0) level_ = 2;
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t /*at*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& /*why*/) override {
    return false;
  }

 private:
  bool scalar(std::string value) {
    if (depth_ == level_ && key_ == "id") {
      id_ = std::move(value);
    } else if (depth_ == level_ + 1 && key_ == "params" && inner_key_ == "requestId") {
      cancels_ = std::move(value);
    }
    return true;
  }

  void begin_message() {
    for (std::string* field : {&key_, &inner_key_, &id_, &method_, &cancels_}) field->clear();
    has_method_ = has_text_method_ = has_id_ = has_outcome_ = false;
  }

  // Of a field that is there twice the last one counts, as with most readers.
  void begin_field(const std::string& name) {
    key_ = name;
    if (name == "id") {
      has_id_ = true;
      id_.clear();
    } else if (name == "method") {
      has_method_ = true;
      has_text_method_ = false;
      method_.clear();
    } else if (name == "result" || name == "error") {
      has_outcome_ = true;
    }
  }

  [[nodiscard]] RpcMessage::Kind kind() const {
    using Kind = RpcMessage::Kind;
    if (!has_method_) return has_outcome_ ? Kind::kAnswer : Kind::kUnclear;
    if (!has_text_method_) return Kind::kUnclear;
    if (!has_id_) return Kind::kNotification;
    return id_.empty() ? Kind::kUnclear : Kind::kRequest;
  }

  void end_message() {
    RpcMessage message;
    message.kind = kind();
    if (method_ == "notifications/cancelled") message.cancels = cancels_;
    message.id = std::move(id_);
    messages_.push_back(std::move(message));
  }

  size_t depth_ = 0;
  size_t level_ = 1;
  std::string key_;        // at the level of a message
  std::string inner_key_;  // … and one below
  std::string id_;
  std::string method_;
  std::string cancels_;
  bool has_method_ = false;
  bool has_text_method_ = false;
  bool has_id_ = false;
  bool has_outcome_ = false;
  std::vector<RpcMessage> messages_;
};

}  // namespace

std::optional<std::vector<RpcMessage>> read_rpc_line(std::string_view line) {
  Reader reader;
  if (!nlohmann::json::sax_parse(line.begin(), line.end(), &reader)) return std::nullopt;
  return reader.take();
}

}  // namespace thimble::cli
