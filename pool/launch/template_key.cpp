// See template_key.h. What goes in is written as "name=length:value" lines, so that no two sets of
// inputs give the same text.
#include "pool/launch/template_key.h"

#include <cpuid.h>
#include <elf.h>
#include <link.h>
#include <sys/utsname.h>

#include <array>
#include <cstring>

#include "pool/image/sha256.h"
#include "pool/launch/guest_files.h"
#include "pool/template/file_mark.h"

namespace thimble::launch {

namespace {

constexpr size_t kDigits = 24;  // of the digest: 96 bits
constexpr std::array<char, 4> kOwner{'G', 'N', 'U', 0};

class Inputs {
 public:
  void add(const char* name, std::string_view value) {
    text_.append(name).append("=").append(std::to_string(value.size())).append(":");
    text_.append(value).append("\n");
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
};

// The linker's digest over this program, from its NT_GNU_BUILD_ID note.
int find_build_id(dl_phdr_info* info, size_t, void* found) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    // The loader gives addresses as numbers.
    const auto* at = reinterpret_cast<const char*>(info->dlpi_addr +  // NOLINT(*-no-int-to-ptr)
                                                   header.p_vaddr);
    const char* const end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto* note = reinterpret_cast<const ElfW(Nhdr)*>(at);
      const char* const name = at + sizeof *note;
      const char* const content = name + ((note->n_namesz + 3) & ~3U);
      if (note->n_type == NT_GNU_BUILD_ID && std::string_view(name, note->n_namesz) ==
                                                 std::string_view(kOwner.data(), kOwner.size())) {
        static_cast<std::string*>(found)->assign(content, note->n_descsz);
        return 1;
      }
      at = content + ((note->n_descsz + 3) & ~3U);
    }
  }
  return 1;  // only the first object: the program itself
}

// Leaves whose bits are features; without what differs from CPU to CPU of one machine.
std::string cpu_features() {
  std::string all;
  const auto add = [&all](unsigned leaf, unsigned subleaf) {
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d) == 0) return;
    if (leaf == 1) b = 0;  // the APIC's id
    for (const unsigned word : {leaf, subleaf, a, b, c, d}) {
      all.append(reinterpret_cast<const char*>(&word), sizeof word);
    }
  };
  for (const unsigned leaf : {0U, 1U, 7U, 0x80000001U, 0x80000007U, 0x80000008U}) add(leaf, 0);
  add(7, 1);
  return all;
}

Result<void> add_files(const ServerConfig& config, const image::Prepared& prepared,
                       Inputs& inputs) {
  auto kernel = find_kernel(config.kernel);
  if (!kernel) return std::unexpected(kernel.error());
  auto kernel_mark = file_mark(*kernel);
  if (!kernel_mark) return std::unexpected(kernel_mark.error());
  inputs.add("kernel", *kernel_mark);
  auto root = file_mark(prepared.image.erofs);
  if (!root) return std::unexpected(root.error());
  inputs.add("root", *root);
  for (const auto& [erofs, guest] : prepared.mounts) {
    auto mark = file_mark(erofs);
    if (!mark) return std::unexpected(mark.error());
    inputs.add("mount", *mark);
    inputs.add("at", guest);
  }
  return {};
}

void add_server(const ServerSpec& server, Inputs& inputs) {
  for (const std::string& word : server.arguments) inputs.add("argument", word);
  for (const std::string& variable : server.environment) inputs.add("variable", variable);
  inputs.add("workdir", server.workdir);
  inputs.add("user", server.user);
}

}  // namespace

Result<TemplateKey> TemplateKey::collect(const ServerConfig& config,
                                         const image::Prepared& prepared,
                                         const ServerSpec& server) {
  Inputs inputs;
  std::string program;
  ::dl_iterate_phdr(find_build_id, &program);
  if (program.empty()) {
    return fail("this thimble was linked without a build ID: templates by name only");
  }
  inputs.add("program", program);
  utsname host{};
  ::uname(&host);
  inputs.add("host", host.release);
  inputs.add("cpu", cpu_features());
  inputs.add("memory", std::to_string(config.memory_bytes));
  inputs.add("vcpus", std::to_string(config.vcpus));
  if (auto added = add_files(config, prepared, inputs); !added) {
    return std::unexpected(added.error());
  }
  Inputs of_server;
  add_server(server, of_server);
  return TemplateKey(inputs.take(), of_server.take());
}

std::string TemplateKey::name(FreezeRequest::Point point) const {
  const bool ready = point == FreezeRequest::Point::kReady;
  Inputs frozen;
  frozen.add("frozen", ready ? "ready" : "before-exec");
  const std::string all = common_ + frozen.take() + (ready ? server_ : "");
  return "auto-" + image::sha256_text(all).substr(0, kDigits);
}

}  // namespace thimble::launch
