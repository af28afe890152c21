// See request_words.h.
#include "pool/image/request_words.h"

#include <charconv>
#include <concepts>
#include <type_traits>

namespace thimble::image {
namespace {

class Writer {
 public:
  void word(const std::string& value) { (words_ += value) += '\0'; }
  template <std::integral T>
  void number(const T& value) {
    word(std::to_string(value));
  }
  std::string take() { return std::move(words_); }

 private:
  std::string words_;
};

class Reader {
 public:
  explicit Reader(std::string_view words) : left_(words) {}

  void word(std::string& value) {
    const std::size_t end = left_.find('\0');
    if (end == std::string_view::npos) return fail_here();
    value = left_.substr(0, end);
    left_.remove_prefix(end + 1);
  }

  template <std::integral T>
  void number(T& value) {
    std::string digits;
    word(digits);
    const char* const end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end) fail_here();
  }

  // Each word of a list takes a byte at least.
  [[nodiscard]] bool may_hold(std::size_t count) const { return !failed_ && count <= left_.size(); }
  void fail_here() {
    failed_ = true;
    left_ = {};
  }
  [[nodiscard]] bool is_at_end() const { return !failed_ && left_.empty(); }

 private:
  std::string_view left_;
  bool failed_ = false;
};

void pass(Writer& io, const std::filesystem::path& path) { io.word(path.string()); }
void pass(Reader& io, std::filesystem::path& path) {
  std::string text;
  io.word(text);
  path = text;
}

void pass(Writer& io, const std::vector<std::string>& list) {
  io.number(list.size());
  for (const std::string& one : list) io.word(one);
}
void pass(Reader& io, std::vector<std::string>& list) {
  std::size_t count = 0;
  io.number(count);
  if (!io.may_hold(count)) return io.fail_here();
  list.resize(count);
  for (std::string& one : list) io.word(one);
}

void pass(Writer& io, const std::map<std::string, std::string>& map) {
  io.number(map.size());
  for (const auto& [key, value] : map) {
    io.word(key);
    io.word(value);
  }
}
void pass(Reader& io, std::map<std::string, std::string>& map) {
  std::size_t count = 0;
  io.number(count);
  for (; count > 0 && io.may_hold(count); --count) {
    std::string key;
    io.word(key);
    io.word(map[key]);
  }
  if (count > 0) io.fail_here();
}

void pass(Writer& io, const bool& flag) { io.number(static_cast<int>(flag)); }
void pass(Reader& io, bool& flag) {
  int value = 0;
  io.number(value);
  if (value != 0 && value != 1) io.fail_here();
  flag = value == 1;
}

template <class Enum>
void pass_enum(Writer& io, const Enum& value, Enum /*last*/) {
  io.number(static_cast<int>(value));
}
template <class Enum>
void pass_enum(Reader& io, Enum& value, Enum last) {
  int number = 0;
  io.number(number);
  if (number < 0 || number > static_cast<int>(last)) return io.fail_here();
  value = static_cast<Enum>(number);
}

void pass(Writer& io, const std::optional<GuestRoot>& root) {
  pass(io, root.has_value());
  if (!root) return;
  pass(io, root->archive);
  io.word(root->manifest);
  io.word(root->inputs);
}
void pass(Reader& io, std::optional<GuestRoot>& root) {
  bool is_there = false;
  pass(io, is_there);
  if (!is_there) return;
  root.emplace();
  pass(io, root->archive);
  io.word(root->manifest);
  io.word(root->inputs);
}

// All of a request. `Of` is const for writing.
template <class Io, class Of>
void pass_request(Io& io, Of& request) {
  pass_enum(io, request.kind, Request::Kind::kFile);
  io.word(request.name);
  io.word(request.npm.name);
  io.word(request.npm.range);
  pass_enum(io, request.node, NodeSource::kSystem);
  pass(io, request.path);
  pass(io, request.only);
  pass(io, request.links);
  pass(io, request.folders);
  io.number(request.uid);
  io.number(request.gid);
  pass(io, request.leave_out_git);
  pass(io, request.command);
  pass(io, request.guest_root);
}

}  // namespace

std::string request_to_words(const Request& request) {
  Writer writer;
  pass_request(writer, request);
  return writer.take();
}

Result<Request> request_from_words(std::string_view words) {
  Reader reader(words);
  Request request;
  pass_request(reader, request);
  if (!reader.is_at_end()) return fail("this is no request of an image");
  return request;
}

}  // namespace thimble::image
